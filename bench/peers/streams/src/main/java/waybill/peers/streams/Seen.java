package waybill.peers.streams;

import java.util.Arrays;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.state.KeyValueStore;

/** The duplicate check: one digest by "sensor_id|event_time", in a store with a changelog. */
final class Seen {
    /** What is known of a reading. */
    enum Verdict { NEW, SAME, OTHER }

    private final KeyValueStore<Bytes, byte[]> store;
    private final Tally tally;

    Seen(KeyValueStore<Bytes, byte[]> store, Tally tally) {
        this.store = store;
        this.tally = tally;
    }

    /** Judges a reading, and remembers it if it is new. */
    Verdict check(byte[] identity, byte[] digest) {
        tally.checked.add(1);
        byte[] known = store.putIfAbsent(Bytes.wrap(identity), digest);
        if (known == null) {
            return Verdict.NEW;
        }
        if (Arrays.equals(known, digest)) {
            tally.duplicates.add(1);
            return Verdict.SAME;
        }
        tally.conflicts.add(1);
        return Verdict.OTHER;
    }
}

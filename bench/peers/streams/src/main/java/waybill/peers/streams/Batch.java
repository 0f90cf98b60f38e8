package waybill.peers.streams;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.function.BooleanSupplier;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.Cancellable;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import waybill.peers.Codes;
import waybill.peers.Sha256;

/** Members to batches: drops duplicates, keeps an open batch by group, publishes it when it is full or all is over. */
final class Batch implements Processor<byte[], byte[], byte[], byte[]> {
    private static final Duration LOOK = Duration.ofMillis(20);
    private static final byte[] NONE = {};

    private final long due;
    private final int full;
    private final boolean bodies;
    private final BooleanSupplier over;
    private final MessageDigest sha = Sha256.make();
    private final Map<String, Window> windows = new HashMap<>();
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<Bytes, byte[]> open;
    private Cancellable clock;
    private Tally tally;
    private Seen seen;
    private long time;

    /** `due`: readings that will be refused or come here. `bodies`: a batch holds its payloads; else only their digests. `over`: no more members will come. */
    Batch(long due, int full, boolean bodies, BooleanSupplier over) {
        this.due = due;
        this.full = full;
        this.bodies = bodies;
        this.over = over;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> given) {
        context = given;
        tally = Tally.mine();
        seen = new Seen(given.getStateStore(Names.SEEN), tally);
        open = given.getStateStore(Names.OPEN);
        try (KeyValueIterator<Bytes, byte[]> rows = open.all()) {
            while (rows.hasNext()) {
                KeyValue<Bytes, byte[]> row = rows.next();
                windows.computeIfAbsent(Window.groupOf(row.key), group -> new Window(group, open));
            }
        }
        tally.open.add(windows.values().stream().mapToLong(Window::size).sum());
        clock = given.schedule(LOOK, PunctuationType.WALL_CLOCK_TIME, now -> lookAtTheEnd());
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        Member member = new Member(record.value());
        byte[] digest = member.digest();
        switch (seen.check(member.identity(), digest)) {
            case NEW -> {
                time = record.timestamp();
                Window window = windows.computeIfAbsent(member.group(), group -> new Window(group, open));
                window.add(digest, bodies ? member.payload() : NONE);
                tally.open.add(1);
                if (window.size() == full) {
                    publish(window);
                }
            }
            case OTHER -> Letters.send(context, record, member.payload(), Codes.CONFLICT);
            case SAME -> { }
        }
    }

    private void lookAtTheEnd() {
        if (over.getAsBoolean()) {
            windows.values().stream().filter(window -> window.size() > 0).forEach(this::publish);
            clock.cancel();
            context.commit();
        } else if (Tally.settledByAll() == due) {
            context.commit(); // nothing follows: no need to wait for commit.interval.ms
        }
    }

    private void publish(Window window) {
        byte[] digests = window.digests();
        RecordHeaders headers = new RecordHeaders();
        headers.add(Names.DIGEST_HEADER, sha.digest(digests));
        headers.add(Names.COUNT_HEADER, number(window.size()));
        headers.add(Names.PARTITION_HEADER, number(context.taskId().partition()));
        byte[] key = window.group.getBytes(StandardCharsets.UTF_8);
        context.forward(new Record<>(key, bodies ? window.lines() : digests, time, headers), Names.BATCHED);
        tally.open.add(-window.size());
        tally.batches.add(1);
        window.cut();
    }

    private static byte[] number(int value) {
        return ByteBuffer.allocate(4).putInt(value).array();
    }
}

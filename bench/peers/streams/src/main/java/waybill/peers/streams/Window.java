package waybill.peers.streams;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * The open batch of one group: on the heap to be cut, and in the store to outlive the process.
 *
 * Rows of the store: "group|slot" holds number (4), digest (32) and content of the member in that slot of batch
 * `number`; "group|-1" holds the number of the last batch that was cut. The next batch writes over the slots, so that
 * no row is ever deleted and a member costs one write.
 */
final class Window {
    private static final int CUT = -1;
    private static final int ROW_HEAD = 4 + Member.DIGEST;

    final String group;
    private final byte[] name;
    private final KeyValueStore<Bytes, byte[]> store;
    private final List<byte[]> rows = new ArrayList<>();
    private int number;

    Window(String group, KeyValueStore<Bytes, byte[]> store) {
        this.group = group;
        this.store = store;
        this.name = group.getBytes(StandardCharsets.UTF_8);
        byte[] cut = store.get(key(CUT));
        number = cut == null ? 0 : ByteBuffer.wrap(cut).getInt() + 1;
        for (byte[] row; (row = store.get(key(rows.size()))) != null && ByteBuffer.wrap(row).getInt() == number; ) {
            rows.add(row);
        }
    }

    int size() {
        return rows.size();
    }

    void add(byte[] digest, byte[] content) {
        byte[] row = ByteBuffer.allocate(ROW_HEAD + content.length).putInt(number).put(digest).put(content).array();
        store.put(key(rows.size()), row);
        rows.add(row);
    }

    /** The digests of the members, in order. */
    byte[] digests() {
        ByteBuffer joined = ByteBuffer.allocate(rows.size() * Member.DIGEST);
        rows.forEach(row -> joined.put(row, 4, Member.DIGEST));
        return joined.array();
    }

    /** The members' contents, in order, a line each. */
    byte[] lines() {
        ByteBuffer joined = ByteBuffer.allocate(rows.stream().mapToInt(row -> row.length - ROW_HEAD + 1).sum());
        rows.forEach(row -> joined.put(row, ROW_HEAD, row.length - ROW_HEAD).put((byte) '\n'));
        return joined.array();
    }

    /** The batch is published: the next one begins. */
    void cut() {
        store.put(key(CUT), ByteBuffer.allocate(4).putInt(number).array());
        number++;
        rows.clear();
    }

    /** The group of a row of the store. */
    static String groupOf(Bytes key) {
        byte[] bytes = key.get();
        return new String(Arrays.copyOf(bytes, bytes.length - 5), StandardCharsets.UTF_8);
    }

    private Bytes key(int slot) {
        return Bytes.wrap(ByteBuffer.allocate(name.length + 5).put(name).put((byte) '|').putInt(slot).array());
    }
}

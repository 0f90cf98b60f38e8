package waybill.peers.streams;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.ToLongFunction;

/** What one stream thread has worked, and how much of that is committed. Written by its thread, read by all. */
final class Tally {
    private static final List<Tally> ALL = new CopyOnWriteArrayList<>();
    private static final ThreadLocal<Tally> MINE = ThreadLocal.withInitial(() -> {
        Tally made = new Tally();
        ALL.add(made);
        return made;
    });

    /** A number that one thread adds to: no fence, no contention. */
    static final class Count {
        private final AtomicLong now = new AtomicLong();
        private volatile long committed;

        void add(long more) {
            now.setRelease(now.getPlain() + more);
        }

        long now() {
            return now.getAcquire();
        }

        long committed() {
            return committed;
        }
    }

    /** Messages of the raw topic. */
    final Count read = new Count();
    /** Of them: refused. */
    final Count refused = new Count();
    /** Readings that reached the duplicate check; the same, and contradicting ones among them. */
    final Count checked = new Count();
    final Count duplicates = new Count();
    final Count conflicts = new Count();
    /** Readings in open batches (of this thread: less than none where it cut what another began), and batches cut. */
    final Count open = new Count();
    final Count batches = new Count();
    /** Transactions that committed, and that did not. */
    final Count transactions = new Count();
    final Count redone = new Count();

    private Tally() {}

    /** That of the calling thread. */
    static Tally mine() {
        return MINE.get();
    }

    /** Everything counted so far by this thread is committed. */
    void commit() {
        for (Count count : List.of(read, refused, checked, duplicates, conflicts, open, batches)) {
            count.committed = count.now();
        }
    }

    /** A number over all threads, as of their last commits. */
    static long committed(ToLongFunction<Tally> which) {
        return ALL.stream().mapToLong(which).sum();
    }

    /** Messages of the raw topic over all threads, committed or not. */
    static long readByAll() {
        long sum = 0;
        for (Tally tally : ALL) {
            sum += tally.read.now();
        }
        return sum;
    }

    /** Readings refused or checked over all threads, committed or not. */
    static long settledByAll() {
        return ALL.stream().mapToLong(tally -> tally.refused.now() + tally.checked.now()).sum();
    }
}

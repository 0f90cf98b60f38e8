package waybill.peers.flink;

import java.util.concurrent.atomic.AtomicLong;
import waybill.peers.Meter;

/** What the subtasks of this one JVM have worked; the meter's clock starts when the first of them opens. */
final class Progress {
    static final Meter METER = new Meter();
    /** Messages of the raw topic; of them refused, the same, contradicting. */
    static final AtomicLong READ = new AtomicLong();
    static final AtomicLong REFUSED = new AtomicLong();
    static final AtomicLong DUPLICATES = new AtomicLong();
    static final AtomicLong CONFLICTS = new AtomicLong();
    /** Checkpoints that a subtask of the sink's stage has seen completed: a transaction each. */
    static final AtomicLong TRANSACTIONS = new AtomicLong();
    private static final long STRIDE = 10_000;
    private static boolean begun;

    private Progress() {}

    /** A subtask of the source opens, before its consumer is made. */
    static synchronized void opened() {
        if (!begun) {
            begun = true;
            METER.begin();
        }
    }

    /** So many messages of the raw topic have been read by one subtask since it last said so. */
    static void read(long more) {
        METER.passed(READ.addAndGet(more));
    }

    /** How often a subtask says so: not at every message, which would be contended. */
    static boolean isTime(long sinceLast) {
        return sinceLast == STRIDE;
    }
}

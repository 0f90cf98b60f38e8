package waybill.peers.flink;

import java.util.Arrays;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.java.tuple.Tuple5;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import waybill.peers.Codes;

/**
 * The duplicate check: one digest by identity, in keyed state. A value by identity and not a map by sensor, of which a
 * checkpoint under way would have to copy the whole at the first change.
 */
final class Once
    extends KeyedProcessFunction<
        String, Tuple5<String, byte[], byte[], byte[], String>, Tuple5<String, byte[], byte[], byte[], String>>
    implements CheckpointListener {
    private static final long serialVersionUID = 1;

    private transient ValueState<byte[]> seen;

    @Override
    public void open(OpenContext context) {
        seen = getRuntimeContext().getState(new ValueStateDescriptor<>("seen", Checked.BYTES));
    }

    @Override
    public void processElement(
        Tuple5<String, byte[], byte[], byte[], String> checked,
        Context context,
        Collector<Tuple5<String, byte[], byte[], byte[], String>> out) throws Exception {
        if (!Checked.isValid(checked)) {
            out.collect(checked);
            return;
        }
        byte[] known = seen.value();
        if (known == null) {
            seen.update(checked.f3);
            out.collect(checked);
        } else if (Arrays.equals(known, checked.f3)) {
            Progress.DUPLICATES.incrementAndGet();
        } else {
            Progress.CONFLICTS.incrementAndGet();
            out.collect(Checked.refused(checked.f1, checked.f2, Codes.CONFLICT));
        }
    }

    @Override
    public void notifyCheckpointComplete(long checkpoint) {
        Progress.TRANSACTIONS.incrementAndGet();
    }
}

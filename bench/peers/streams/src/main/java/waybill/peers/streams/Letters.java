package waybill.peers.streams;

import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

/** Dead letters: the message as it was, its code in a header. */
final class Letters {
    private Letters() {}

    static void send(
        ProcessorContext<byte[], byte[]> context, Record<byte[], byte[]> record, byte[] value, String code) {
        RecordHeaders headers = new RecordHeaders();
        headers.add(Names.CODE_HEADER, code.getBytes(StandardCharsets.US_ASCII));
        context.forward(new Record<>(record.key(), value, record.timestamp(), headers), Names.DEAD_LETTER);
    }
}

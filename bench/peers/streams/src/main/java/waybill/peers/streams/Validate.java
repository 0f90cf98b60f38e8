package waybill.peers.streams;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import waybill.peers.Codes;
import waybill.peers.Reading;
import waybill.peers.Sha256;

/**
 * Raw readings to validated ones and dead letters. With a store (job validate) it drops duplicates itself and writes
 * payloads; without (job pipeline) it writes members for the batch stage.
 */
final class Validate implements Processor<byte[], byte[], byte[], byte[]> {
    private final Reading reading;
    private final boolean alone;
    private final long due;
    private final MessageDigest sha = Sha256.make();
    private ProcessorContext<byte[], byte[]> context;
    private Tally tally;
    private Seen seen;

    Validate(Reading reading, boolean alone, long due) {
        this.reading = reading;
        this.alone = alone;
        this.due = due;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> given) {
        context = given;
        tally = Tally.mine();
        if (alone) {
            seen = new Seen(given.getStateStore(Names.SEEN), tally);
        }
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        if (!reading.read(record.value())) {
            tally.refused.add(1);
            Letters.send(context, record, record.value(), reading.code());
        } else if (alone) {
            settle(record, reading.payload(), sha.digest(reading.payload()));
        } else {
            byte[] member = Member.frame(sha.digest(reading.payload()), reading);
            byte[] key = reading.sensorId().getBytes(StandardCharsets.UTF_8);
            context.forward(new Record<>(key, member, record.timestamp()), Names.VALIDATED);
        }
        tally.read.add(1);
        if (Tally.readByAll() == due) {
            context.commit(); // nothing follows: no need to wait for commit.interval.ms
        }
    }

    private void settle(Record<byte[], byte[]> record, byte[] payload, byte[] digest) {
        switch (seen.check(reading.identity(), digest)) {
            case NEW -> {
                RecordHeaders headers = new RecordHeaders();
                headers.add(Names.DIGEST_HEADER, digest);
                context.forward(new Record<>(record.key(), payload, record.timestamp(), headers), Names.VALIDATED);
            }
            case OTHER -> Letters.send(context, record, record.value(), Codes.CONFLICT);
            case SAME -> { }
        }
    }
}

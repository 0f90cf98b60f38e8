package waybill.peers.flink;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HashMap;
import org.apache.flink.api.common.serialization.DeserializationSchema.InitializationContext;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.tuple.Tuple5;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import waybill.peers.Limits;
import waybill.peers.Reading;
import waybill.peers.Sha256;

/** Raw messages to checked ones, in the source's own thread: no object stands between the two. */
final class Read implements KafkaRecordDeserializationSchema<Tuple5<String, byte[], byte[], byte[], String>> {
    private static final long serialVersionUID = 1;

    private final HashMap<String, Limits> limits;
    private final String defaultProduct;
    private transient Reading reading;
    private transient MessageDigest sha;
    private transient long since;

    Read(HashMap<String, Limits> limits, String defaultProduct) {
        this.limits = limits;
        this.defaultProduct = defaultProduct;
    }

    @Override
    public void open(InitializationContext context) {
        Progress.opened();
        reading = new Reading(limits, defaultProduct);
        sha = Sha256.make();
    }

    @Override
    public void deserialize(
        ConsumerRecord<byte[], byte[]> record, Collector<Tuple5<String, byte[], byte[], byte[], String>> out) {
        if (!Progress.METER.running()) {
            Progress.METER.fetched(System.nanoTime());
        }
        if (reading.read(record.value())) {
            byte[] payload = reading.payload();
            // Latin-1 or not, the text comes back as the same bytes: it is a key, not for reading.
            String identity = new String(reading.identity(), StandardCharsets.ISO_8859_1);
            out.collect(Checked.valid(identity, record.key(), payload, sha.digest(payload)));
        } else {
            Progress.REFUSED.incrementAndGet();
            out.collect(Checked.refused(record.key(), record.value(), reading.code()));
        }
        if (Progress.isTime(++since)) {
            Progress.read(since);
            since = 0;
        }
    }

    @Override
    public TypeInformation<Tuple5<String, byte[], byte[], byte[], String>> getProducedType() {
        return Checked.TYPE;
    }
}

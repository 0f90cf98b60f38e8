package waybill.peers.flink;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;
import org.apache.flink.api.java.tuple.Tuple5;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetIdentifier;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacetProvider;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Checked messages to their topics: one sink, and so one transaction, for both. */
final class Write
    implements KafkaRecordSerializationSchema<Tuple5<String, byte[], byte[], byte[], String>>,
    KafkaDatasetFacetProvider {
    private static final long serialVersionUID = 1;

    private final String validated;
    private final String deadLetter;

    Write(String validated, String deadLetter) {
        this.validated = validated;
        this.deadLetter = deadLetter;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(
        Tuple5<String, byte[], byte[], byte[], String> checked, KafkaSinkContext context, Long timestamp) {
        ProducerRecord<byte[], byte[]> record;
        if (Checked.isValid(checked)) {
            record = new ProducerRecord<>(validated, null, timestamp, checked.f1, checked.f2);
            record.headers().add("digest", checked.f3);
        } else {
            record = new ProducerRecord<>(deadLetter, null, timestamp, checked.f1, checked.f2);
            record.headers().add("code", checked.f4.getBytes(StandardCharsets.US_ASCII));
        }
        return record;
    }

    /** Its topics, which a sink with pooled transactional ids must know beforehand. */
    @Override
    public Optional<KafkaDatasetFacet> getKafkaDatasetFacet() {
        return Optional.of(
            new DefaultKafkaDatasetFacet(DefaultKafkaDatasetIdentifier.ofTopics(List.of(validated, deadLetter))));
    }
}

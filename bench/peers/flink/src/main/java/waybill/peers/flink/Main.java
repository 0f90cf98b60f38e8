package waybill.peers.flink;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.CoreOptions;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple5;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import waybill.peers.Job;
import waybill.peers.Limits;

/** The Flink peer: job validate in a mini-cluster of this JVM, bounded by what the topic holds at the start. */
public final class Main {
    private static final int MIB = 1 << 20;

    private Main() {}

    /** Job: see bench/peers/java.py. */
    public static void main(String[] arguments) throws Exception {
        Job job = Job.of(arguments);
        if (!job.text("job").equals("validate")) {
            throw new IllegalArgumentException("the Flink peer knows only the job validate");
        }
        StreamExecutionEnvironment flink =
            StreamExecutionEnvironment.createLocalEnvironment(job.number("threads"), settings(job));
        flink.fromSource(source(job), WatermarkStrategy.noWatermarks(), "raw", Checked.TYPE)
            .keyBy(checked -> checked.f0, Types.STRING)
            .process(new Once())
            .returns(Checked.TYPE)
            .sinkTo(sink(job));
        flink.execute(job.text("application"));
        long read = job.number("records");
        Progress.METER.passed(read);
        Progress.METER.tell(read, Progress.TRANSACTIONS.get(), 0, Map.of(
            "refused", Progress.REFUSED.get(),
            "duplicates", Progress.DUPLICATES.get(),
            "conflicts", Progress.CONFLICTS.get()));
    }

    private static KafkaSource<Tuple5<String, byte[], byte[], byte[], String>> source(Job job) {
        return KafkaSource.<Tuple5<String, byte[], byte[], byte[], String>>builder()
            .setBootstrapServers(job.text("bootstrap"))
            .setTopics(job.text("raw"))
            .setGroupId(job.text("application"))
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setBounded(OffsetsInitializer.latest())
            .setDeserializer(new Read(Limits.of(job.limits()), job.text("default_product")))
            .setProperty("max.poll.records", "10000")
            .setProperty("max.partition.fetch.bytes", Integer.toString(4 * MIB))
            .setProperty("fetch.max.wait.ms", "50")
            .build();
    }

    private static KafkaSink<Tuple5<String, byte[], byte[], byte[], String>> sink(Job job) {
        Properties producer = new Properties();
        producer.put("transaction.timeout.ms", "600000");
        producer.put("compression.type", "lz4");
        producer.put("batch.size", Integer.toString(MIB / 4));
        producer.put("linger.ms", Integer.toString(job.number("linger_ms")));
        producer.put("buffer.memory", Integer.toString(128 * MIB));
        return KafkaSink.<Tuple5<String, byte[], byte[], byte[], String>>builder()
            .setBootstrapServers(job.text("bootstrap"))
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(job.text("application"))
            .setTransactionNamingStrategy(TransactionNamingStrategy.POOLING)
            .setKafkaProducerConfig(producer)
            .setRecordSerializer(new Write(job.text("validated"), job.text("dead_letter")))
            .build();
    }

    private static Configuration settings(Job job) {
        Configuration to = new Configuration();
        to.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofMillis(job.number("commit_ms")));
        to.set(CheckpointingOptions.CHECKPOINTING_CONSISTENCY_MODE, CheckpointingMode.EXACTLY_ONCE);
        to.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        to.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, Path.of(job.text("state")).toUri().toString());
        to.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        to.set(RestartStrategyOptions.RESTART_STRATEGY, "disable");
        to.set(PipelineOptions.OBJECT_REUSE, true);
        to.set(PipelineOptions.GENERIC_TYPES, false);
        to.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(16));
        to.set(TaskManagerOptions.NETWORK_MEMORY_MIN, MemorySize.ofMebiBytes(64));
        to.set(TaskManagerOptions.NETWORK_MEMORY_MAX, MemorySize.ofMebiBytes(64));
        to.set(CoreOptions.DEFAULT_PARALLELISM, job.number("threads"));
        return to;
    }
}

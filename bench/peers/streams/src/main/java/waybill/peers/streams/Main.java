package waybill.peers.streams;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import waybill.peers.Job;
import waybill.peers.Limits;
import waybill.peers.Meter;
import waybill.peers.Reading;

/** The Kafka Streams peer: builds the topology of its job, and runs it until every record is answered and committed. */
public final class Main {
    private static final int MIB = 1 << 20;
    private static final int LOOK_MS = 5;

    private final Job job;
    private final long due;
    private final long waiting;
    private final Map<String, Limits> limits;

    private Main(Job job) {
        this.job = job;
        this.due = job.number("records");
        this.waiting = job.number("waiting");
        this.limits = Limits.of(job.limits());
    }

    /** Job: see bench/peers/java.py. */
    public static void main(String[] arguments) throws Exception {
        new Main(Job.of(arguments)).run();
    }

    private void run() throws Exception {
        boolean alone = job.text("job").equals("validate");
        BooleanSupplier done = alone ? this::allRead : this::allBatched;
        AtomicReference<Throwable> failed = new AtomicReference<>();
        Meter meter = new Meter();
        meter.begin();
        Clients clients = new Clients(meter, () -> Tally.committed(alone
            ? tally -> tally.read.committed()
            : tally -> tally.checked.committed() + tally.refused.committed()));
        KafkaStreams streams = new KafkaStreams(alone ? validate() : pipeline(), settings(), clients);
        streams.setUncaughtExceptionHandler(error -> {
            failed.set(error);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        while (!done.getAsBoolean()) {
            Thread.sleep(LOOK_MS);
            if (failed.get() != null) {
                failed.get().printStackTrace();
                Runtime.getRuntime().halt(1);
            }
        }
        meter.tell(due, Tally.committed(tally -> tally.transactions.now()),
            Tally.committed(tally -> tally.redone.now()), counts());
    }

    private boolean allRead() {
        return Tally.committed(tally -> tally.read.committed()) == due;
    }

    private boolean allChecked() {
        return allRead()
            && Tally.committed(tally -> tally.checked.committed() + tally.refused.committed()) == due + waiting;
    }

    private boolean allBatched() {
        return allChecked() && Tally.committed(tally -> tally.open.committed()) == 0;
    }

    private Map<String, Long> counts() {
        Map<String, Long> counts = new LinkedHashMap<>();
        counts.put("refused", Tally.committed(tally -> tally.refused.committed()));
        counts.put("duplicates", Tally.committed(tally -> tally.duplicates.committed()));
        counts.put("conflicts", Tally.committed(tally -> tally.conflicts.committed()));
        counts.put("batches", Tally.committed(tally -> tally.batches.committed()));
        return counts;
    }

    private Topology validate() {
        return source()
            .addProcessor(Names.VALIDATE, validator(true), Names.RAW)
            .addStateStore(store(Names.SEEN), Names.VALIDATE)
            .addSink(Names.VALIDATED, job.text("validated"), Names.VALIDATE)
            .addSink(Names.DEAD_LETTER, job.text("dead_letter"), Names.VALIDATE);
    }

    private Topology pipeline() {
        int full = job.number("batch");
        boolean bodies = job.is("bodies");
        ProcessorSupplier<byte[], byte[], byte[], byte[]> batch = () -> new Batch(due + waiting, full, bodies, this::allChecked);
        return source()
            .addProcessor(Names.VALIDATE, validator(false), Names.RAW)
            .addSink(Names.VALIDATED, job.text("validated"), Names.VALIDATE)
            .addSource(Names.THROUGH, new ByteArrayDeserializer(), new ByteArrayDeserializer(), job.text("validated"))
            .addProcessor(Names.BATCH, batch, Names.THROUGH)
            .addStateStore(store(Names.SEEN), Names.BATCH)
            .addStateStore(store(Names.OPEN), Names.BATCH)
            .addSink(Names.BATCHED, job.text("batched"), Names.BATCH)
            .addSink(Names.DEAD_LETTER, job.text("dead_letter"), Names.VALIDATE, Names.BATCH);
    }

    private Topology source() {
        return new Topology()
            .addSource(Names.RAW, new ByteArrayDeserializer(), new ByteArrayDeserializer(), job.text("raw"));
    }

    private ProcessorSupplier<byte[], byte[], byte[], byte[]> validator(boolean alone) {
        String product = job.text("default_product");
        return () -> new Validate(new Reading(limits, product), alone, due);
    }

    private StoreBuilder<KeyValueStore<Bytes, byte[]>> store(String name) {
        return Stores.keyValueStoreBuilder(
            job.text("store").equals("rocksdb")
                ? Stores.persistentKeyValueStore(name)
                : Stores.inMemoryKeyValueStore(name),
            Serdes.Bytes(), Serdes.ByteArray());
        // No record cache: nearly every key is written once, so it would only be one more copy.
    }

    private Properties settings() {
        Properties to = new Properties();
        to.put(StreamsConfig.APPLICATION_ID_CONFIG, job.text("application"));
        to.put(StreamsConfig.CLIENT_ID_CONFIG, "w");
        to.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, job.text("bootstrap"));
        to.put(StreamsConfig.STATE_DIR_CONFIG, job.text("state"));
        to.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        to.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, job.number("threads"));
        to.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, job.number("commit_ms"));
        to.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArray().getClass());
        to.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArray().getClass());
        to.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        to.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, Rocks.class);
        to.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, -1L); // no task has two inputs to put in order; 0 costs a tenth
        to.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 20_000);
        to.put(StreamsConfig.ENABLE_METRICS_PUSH_CONFIG, false);
        to.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 10_000);
        to.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        to.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
        to.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 * MIB);
        to.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG), 50);
        to.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        to.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), MIB / 4);
        to.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), job.number("linger_ms"));
        to.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 128 * MIB);
        to.put(StreamsConfig.producerPrefix(ProducerConfig.MAX_REQUEST_SIZE_CONFIG), 32 * MIB);
        to.put(StreamsConfig.producerPrefix(ProducerConfig.RETRY_BACKOFF_MS_CONFIG), 1);
        to.put(StreamsConfig.producerPrefix(ProducerConfig.RETRY_BACKOFF_MAX_MS_CONFIG), 20);
        return to;
    }
}

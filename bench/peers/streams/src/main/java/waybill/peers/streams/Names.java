package waybill.peers.streams;

/** Names inside the topologies, and of headers. */
final class Names {
    static final String RAW = "raw";
    static final String VALIDATE = "validate";
    static final String VALIDATED = "validated";
    static final String DEAD_LETTER = "dead-letter";
    static final String THROUGH = "through";
    static final String BATCH = "batch";
    static final String BATCHED = "batched";
    static final String SEEN = "seen";
    static final String OPEN = "open";

    static final String CODE_HEADER = "code";
    static final String DIGEST_HEADER = "digest";
    static final String COUNT_HEADER = "count";
    static final String PARTITION_HEADER = "partition";

    private Names() {}
}

package waybill.peers;

/** Why a reading is refused: the product's own codes, and one for what its fast way leaves to its thorough way. */
public final class Codes {
    public static final String BAD_FORMAT = "BAD_FORMAT";
    public static final String CONFLICT = "CONFLICT";
    public static final String CONTRADICTORY_FIELDS = "CONTRADICTORY_FIELDS";
    public static final String DUPLICATE_JSON_KEY = "DUPLICATE_JSON_KEY";
    public static final String IMPOSSIBLE_DATE = "IMPOSSIBLE_DATE";
    public static final String MALFORMED_JSON = "MALFORMED_JSON";
    public static final String MISSING_FIELD = "MISSING_FIELD";
    public static final String NAIVE_TIMESTAMP = "NAIVE_TIMESTAMP";
    public static final String NOT_A_NUMBER = "NOT_A_NUMBER";
    /** Valid perhaps, but of a form that the fast way does not read: another unit, fraction or way to write UTC. */
    public static final String NOT_PLAIN = "NOT_PLAIN";
    public static final String NOT_UTC = "NOT_UTC";
    public static final String OUT_OF_RANGE = "OUT_OF_RANGE";
    public static final String UNKNOWN_FIELD = "UNKNOWN_FIELD";
    public static final String UNKNOWN_PRODUCT = "UNKNOWN_PRODUCT";
    public static final String WRONG_TYPE = "WRONG_TYPE";

    private Codes() {}
}

package waybill.peers;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.json.JsonReadFeature;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;

/**
 * Reads JSON readings one after the other, checks each as the product's fast way does, and writes its canonical JSON.
 * Holds the last one read; not thread-safe.
 */
public final class Reading {
    private static final JsonFactory JSON =
        JsonFactory.builder().enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS).build();
    private static final int SENSOR = 1, STAMP = 2, DEGREES = 4, ZONE = 8, CLAIM = 16, PRODUCT = 32, OTHER = 64;
    private static final byte[] HEX = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);

    private static final byte[] COMPLIANCE = ascii("{\"compliance_state\":\"");
    private static final byte[] EVENT_TIME = ascii("\",\"event_time\":");
    private static final byte[] KIND_PRODUCT = ascii(",\"kind\":\"reading\",\"product\":\"");
    private static final byte[] SENSOR_ID = ascii("\",\"sensor_id\":\"");
    private static final byte[] STATE = ascii("\",\"state\":\"");
    private static final byte[] TEMPERATURE = ascii("\",\"temperature_c\":\"");
    private static final byte[] TIMESTAMP = ascii("\",\"timestamp_utc\":\"");
    private static final byte[] ZONE_ID = ascii("\",\"zone_id\":\"");
    private static final byte[] END = ascii("\"}");

    private final Map<String, Limits> products;
    private final String defaultProduct;
    private final Celsius celsius = new Celsius();
    private byte[] buffer = new byte[1024];
    private int used;

    private String code;
    private String sensorId;
    private String stamp;
    private String zone;
    private String claim;
    private String product;
    private long eventTime;
    private byte[] payload;

    /** A reader that knows these products. */
    public Reading(Map<String, Limits> products, String defaultProduct) {
        this.products = products;
        this.defaultProduct = defaultProduct;
    }

    /** Takes the next one. True: valid, and everything but code() is there; false: refused, and code() says why. */
    public boolean read(byte[] json) {
        code = null;
        if (json == null || json.length < 2 || json[0] == 0 || json[1] == 0) { // not UTF-16, which Jackson would read
            code = Codes.MALFORMED_JSON;
            return false;
        }
        int seen;
        try (JsonParser parser = JSON.createParser(json, 0, json.length)) {
            seen = parse(parser);
        } catch (IOException broken) {
            code = Codes.MALFORMED_JSON;
            return false;
        }
        if (code == null) {
            code = judge(seen);
        }
        if (code != null) {
            return false;
        }
        write();
        return code == null;
    }

    /** Why the last one was refused. */
    public String code() {
        return code;
    }

    /** Its sensor. */
    public String sensorId() {
        return sensorId;
    }

    /** Its product, stated or by default. */
    public String product() {
        return product;
    }

    /** Its day, YYYY-MM-DD. */
    public String day() {
        return stamp.substring(0, 10);
    }

    /** Its time, ms since epoch. */
    public long eventTime() {
        return eventTime;
    }

    /** Its canonical JSON. */
    public byte[] payload() {
        return payload;
    }

    /** "sensor_id|event_time", which no two readings may share. */
    public byte[] identity() {
        used = 0;
        put(sensorId);
        room(1);
        buffer[used++] = '|';
        put(eventTime);
        return Arrays.copyOf(buffer, used);
    }

    private int parse(JsonParser parser) throws IOException {
        int seen = 0;
        zone = claim = product = null;
        if (parser.nextToken() != JsonToken.START_OBJECT) {
            code = Codes.MALFORMED_JSON;
            return seen;
        }
        String name;
        while ((name = parser.nextFieldName()) != null) {
            JsonToken token = parser.nextToken();
            int field = OTHER;
            switch (name) {
                case "sensor_id" -> {
                    field = SENSOR;
                    sensorId = text(parser, token, 4, 64);
                }
                case "timestamp_utc" -> {
                    field = STAMP;
                    stamp = text(parser, token, 0, 64);
                }
                case "temperature_c" -> {
                    field = DEGREES;
                    number(parser, token);
                }
                case "zone_id" -> {
                    field = ZONE;
                    zone = text(parser, token, 0, Integer.MAX_VALUE);
                }
                case "compliance_state" -> {
                    field = CLAIM;
                    claim = text(parser, token, 0, Integer.MAX_VALUE);
                }
                case "product" -> {
                    field = PRODUCT;
                    product = text(parser, token, 1, 64);
                }
                case "temperature", "unit" -> {
                    blame(Codes.NOT_PLAIN);
                    parser.skipChildren();
                    continue;
                }
                default -> {
                    blame(Codes.UNKNOWN_FIELD);
                    parser.skipChildren();
                    continue;
                }
            }
            if ((seen & field) != 0) {
                blame(Codes.DUPLICATE_JSON_KEY);
            }
            seen |= field;
        }
        if (parser.currentToken() != JsonToken.END_OBJECT || parser.nextToken() != null) {
            code = Codes.MALFORMED_JSON;
        }
        return seen;
    }

    private void blame(String what) {
        if (code == null) {
            code = what;
        }
    }

    private String text(JsonParser parser, JsonToken token, int least, int most) throws IOException {
        if (token != JsonToken.VALUE_STRING) {
            blame(Codes.WRONG_TYPE);
            parser.skipChildren();
            return "";
        }
        String text = parser.getText();
        int length = text.length();
        if (length < least || length > most) {
            // Characters, not halves of them.
            length = text.codePointCount(0, length);
            if (length < least || length > most) {
                blame(Codes.OUT_OF_RANGE);
            }
        }
        return text;
    }

    private void number(JsonParser parser, JsonToken token) throws IOException {
        if (token != JsonToken.VALUE_NUMBER_FLOAT && token != JsonToken.VALUE_NUMBER_INT) {
            blame(Codes.WRONG_TYPE);
            parser.skipChildren();
        } else if (!celsius.take(parser.getTextCharacters(), parser.getTextOffset(), parser.getTextLength())) {
            blame(Codes.NOT_A_NUMBER);
        }
    }

    private String judge(int seen) {
        if ((seen & (SENSOR | STAMP | DEGREES)) != (SENSOR | STAMP | DEGREES)) {
            return Codes.MISSING_FIELD;
        }
        eventTime = Time.plain(stamp);
        if (eventTime == Time.OTHER_FORM) {
            return Time.wrong(stamp);
        }
        if (product == null) {
            product = defaultProduct;
        }
        Limits limits = products.get(product);
        if (limits == null) {
            return Codes.UNKNOWN_PRODUCT;
        }
        if (zone != null && !isZone(zone) || !printable(sensorId)) {
            return Codes.BAD_FORMAT;
        }
        if (claim == null) {
            claim = "unknown";
        } else if (!claim.equals("unknown") && !claim.equals("within_spec") && !claim.equals("excursion")) {
            return Codes.BAD_FORMAT;
        }
        return limits.plausible(celsius.value) ? null : Codes.OUT_OF_RANGE;
    }

    private void write() {
        used = 0;
        put(COMPLIANCE);
        put(claim);
        put(EVENT_TIME);
        put(eventTime);
        put(KIND_PRODUCT);
        put(product);
        put(SENSOR_ID);
        put(sensorId);
        put(STATE);
        put(products.get(product).state(celsius.value));
        put(TEMPERATURE);
        room(celsius.length);
        System.arraycopy(celsius.text, 0, buffer, used, celsius.length);
        used += celsius.length;
        put(TIMESTAMP);
        put(stamp);
        if (zone != null) {
            put(ZONE_ID);
            put(zone);
        }
        put(END);
        payload = Arrays.copyOf(buffer, used);
    }

    private void room(int more) {
        if (used + more > buffer.length) {
            buffer = Arrays.copyOf(buffer, Math.max(buffer.length * 2, used + more));
        }
    }

    private void put(byte[] text) {
        room(text.length);
        System.arraycopy(text, 0, buffer, used, text.length);
        used += text.length;
    }

    private void put(long number) {
        room(20);
        int end = used + 1;
        for (long rest = number; rest > 9; rest /= 10) {
            end++;
        }
        used = end;
        long rest = number;
        do {
            buffer[--end] = (byte) ('0' + rest % 10);
            rest /= 10;
        } while (rest > 0);
    }

    @SuppressWarnings("deprecation") // the one way to copy Latin-1 characters without an array of their own
    private void put(String text) {
        int length = text.length();
        room(length);
        for (int at = 0; at < length; at++) {
            char c = text.charAt(at);
            if (c < ' ' || c > '~' || c == '"' || c == '\\') {
                putEscaped(text);
                return;
            }
        }
        text.getBytes(0, length, buffer, used);
        used += length;
    }

    private void putEscaped(String text) {
        for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            room(6);
            if (b == '"' || b == '\\') {
                buffer[used++] = '\\';
                buffer[used++] = b;
            } else if (b >= 0 && b < ' ') {
                put(new byte[] {'\\', 'u', '0', '0', HEX[b >> 4], HEX[b & 15]});
            } else {
                buffer[used++] = b;
            }
        }
    }

    private static boolean isZone(String text) {
        for (int at = 0; at < text.length(); at++) {
            char c = text.charAt(at);
            if (!(c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-')) {
                return false;
            }
        }
        return !text.isEmpty();
    }

    private static boolean printable(String text) {
        for (int at = 0; at < text.length(); at++) {
            char c = text.charAt(at);
            if (c < ' ' || c > '~') {
                return text.codePoints().allMatch(Reading::printable);
            }
        }
        return true;
    }

    private static boolean printable(int character) {
        return switch (Character.getType(character)) {
            case Character.CONTROL, Character.FORMAT, Character.SURROGATE, Character.PRIVATE_USE, Character.UNASSIGNED,
                Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR -> false;
            case Character.SPACE_SEPARATOR -> character == ' ';
            default -> true;
        };
    }

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }
}

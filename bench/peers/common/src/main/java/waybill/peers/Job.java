package waybill.peers;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;

/** What a program is to do: the JSON object that is its one argument. */
public record Job(JsonNode fields) {

    /** The job of a command line. */
    public static Job of(String[] arguments) throws IOException {
        if (arguments.length != 1) {
            throw new IllegalArgumentException("expected one argument, the job as JSON");
        }
        return new Job(new ObjectMapper().readTree(arguments[0]));
    }

    /** A field that must be there. */
    public String text(String name) {
        return need(name).asText();
    }

    /** A number that must be there. */
    public int number(String name) {
        return need(name).asInt();
    }

    /** A yes or no that must be there. */
    public boolean is(String name) {
        return need(name).asBoolean();
    }

    /** The products and their limits, as Limits reads them. */
    public JsonNode limits() {
        return need("limits");
    }

    private JsonNode need(String name) {
        JsonNode value = fields.get(name);
        if (value == null) {
            throw new IllegalArgumentException("the job lacks " + name);
        }
        return value;
    }
}

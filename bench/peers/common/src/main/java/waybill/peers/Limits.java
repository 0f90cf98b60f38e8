package waybill.peers;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.Serializable;
import java.util.HashMap;

/** The limits of one product in °C, and what they make of a temperature. */
public record Limits(double low, double high, double boundLow, double boundHigh, boolean judged)
    implements Serializable {

    /** Every product by name, out of {name: [low, high, lower bound, upper bound, judged]}; null: no limit. A
     * HashMap, so that it can be sent to where it is used. */
    public static HashMap<String, Limits> of(JsonNode products) {
        HashMap<String, Limits> found = new HashMap<>();
        products.fields().forEachRemaining(entry -> {
            JsonNode it = entry.getValue();
            double low = it.get(0).isNull() ? Double.NEGATIVE_INFINITY : it.get(0).asDouble();
            double high = it.get(1).isNull() ? Double.POSITIVE_INFINITY : it.get(1).asDouble();
            found.put(entry.getKey(),
                new Limits(low, high, it.get(2).asDouble(), it.get(3).asDouble(), it.get(4).asBoolean()));
        });
        return found;
    }

    /** Whether a temperature can be one of this product at all. */
    public boolean plausible(double celsius) {
        return boundLow <= celsius && celsius <= boundHigh;
    }

    /** The computed compliance state; the limits themselves are within. */
    public String state(double celsius) {
        if (!judged) {
            return "unknown";
        }
        return low <= celsius && celsius <= high ? "within_spec" : "excursion";
    }
}

package waybill.peers;

import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;

/** One JSON number: its double, and the shortest plain decimal that reads back as that double. Not thread-safe. */
final class Celsius {
    private static final double[] POWERS = new double[16];

    static {
        POWERS[0] = 1;
        for (int exponent = 1; exponent < POWERS.length; exponent++) {
            POWERS[exponent] = POWERS[exponent - 1] * 10;
        }
    }

    final byte[] text = new byte[400];
    int length;
    double value;

    /** Takes a number as it stands in the JSON text. False: too large, or none. */
    boolean take(char[] chars, int from, int count) {
        if (count > 17 || !takeShort(chars, from, count)) {
            return takeAny(new String(chars, from, count));
        }
        return true;
    }

    /** Up to 15 digits without exponent: a decimal of so many digits is the shortest of its double. */
    private boolean takeShort(char[] chars, int from, int count) {
        int at = from;
        int end = from + count;
        boolean negative = chars[at] == '-';
        if (negative) {
            at++;
        }
        long digits = 0;
        int seen = 0;
        int point = -1;
        int used = 0;
        if (negative) {
            text[used++] = '-';
        }
        for (; at < end; at++) {
            char c = chars[at];
            if (c == '.') {
                point = seen;
            } else if (c >= '0' && c <= '9') {
                digits = digits * 10 + (c - '0');
                seen++;
            } else {
                return false;
            }
            text[used++] = (byte) c;
        }
        if (seen > 15) {
            return false;
        }
        value = digits / POWERS[point < 0 ? 0 : seen - point];
        if (negative) {
            value = -value;
        }
        if (point >= 0) {
            while (text[used - 1] == '0') {
                used--;
            }
            if (text[used - 1] == '.') {
                used--;
            }
        }
        if (digits == 0) {
            text[0] = '0';
            used = 1;
        }
        length = used;
        return true;
    }

    private boolean takeAny(String written) {
        if (!Character.isDigit(written.charAt(written.length() - 1))) {
            return false; // NaN, Infinity and their like
        }
        value = Double.parseDouble(written);
        if (Double.isInfinite(value)) {
            return false;
        }
        String plain = value == 0 ? "0" : shortest(value).stripTrailingZeros().toPlainString();
        length = plain.length();
        for (int at = 0; at < length; at++) {
            text[at] = (byte) plain.charAt(at);
        }
        return true;
    }

    private static BigDecimal shortest(double value) {
        BigDecimal exact = new BigDecimal(value);
        for (int digits = 1; digits < 17; digits++) {
            BigDecimal rounded = exact.round(new MathContext(digits, RoundingMode.HALF_EVEN));
            if (rounded.doubleValue() == value) {
                return rounded;
            }
        }
        return exact.round(new MathContext(17, RoundingMode.HALF_EVEN));
    }
}

package waybill.peers;

import java.time.DateTimeException;
import java.time.LocalDate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Timestamps: the two plain forms to milliseconds, and why another form is refused. */
final class Time {
    static final long OTHER_FORM = -1;
    private static final int[] DAYS = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    private static final Pattern ISO = Pattern.compile(
        "(\\d{4})-(\\d\\d)-(\\d\\d)[Tt ](\\d\\d):(\\d\\d)(?::(\\d\\d)(?:\\.\\d{1,9})?)?(?:[Zz]|([+-])(\\d\\d):?(\\d\\d))?");

    private Time() {}

    /** Milliseconds of 2026-01-31T08:15:00Z or 2026-01-31T08:15:00.250Z; OTHER_FORM for anything else. */
    static long plain(String text) {
        int length = text.length();
        if ((length != 20 && length != 24) || text.charAt(length - 1) != 'Z' || text.charAt(4) != '-'
            || text.charAt(7) != '-' || text.charAt(10) != 'T' || text.charAt(13) != ':' || text.charAt(16) != ':'
            || (length == 24 && text.charAt(19) != '.')) {
            return OTHER_FORM;
        }
        int year = digits(text, 0, 4);
        int month = digits(text, 5, 2);
        int day = digits(text, 8, 2);
        int hour = digits(text, 11, 2);
        int minute = digits(text, 14, 2);
        int second = digits(text, 17, 2);
        int millis = length == 24 ? digits(text, 20, 3) : 0;
        if ((year | month | day | hour | minute | second | millis) < 0 || year < 1970 || month < 1 || month > 12
            || day < 1 || day > days(year, month) || hour > 23 || minute > 59 || second > 59) {
            return OTHER_FORM;
        }
        long date = LocalDate.of(year, month, day).toEpochDay();
        return (((date * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis;
    }

    /** The code of a timestamp that is not plain. */
    static String wrong(String text) {
        Matcher match = ISO.matcher(text);
        if (!match.matches()) {
            return Codes.BAD_FORMAT;
        }
        try {
            LocalDate.of(number(match, 1), number(match, 2), number(match, 3));
        } catch (DateTimeException none) {
            return Codes.IMPOSSIBLE_DATE;
        }
        int second = match.group(6) == null ? 0 : number(match, 6);
        if (number(match, 4) > 23 || number(match, 5) > 59 || second > 59) {
            return Codes.IMPOSSIBLE_DATE;
        }
        if (match.group(7) != null) {
            return number(match, 8) + number(match, 9) == 0 ? Codes.NOT_PLAIN : Codes.NOT_UTC;
        }
        char last = text.charAt(text.length() - 1);
        if (last != 'Z' && last != 'z') {
            return Codes.NAIVE_TIMESTAMP;
        }
        return number(match, 1) < 1970 ? Codes.OUT_OF_RANGE : Codes.NOT_PLAIN;
    }

    private static int number(Matcher match, int group) {
        return Integer.parseInt(match.group(group));
    }

    private static int days(int year, int month) {
        boolean leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        return month == 2 && leap ? 29 : DAYS[month - 1];
    }

    private static int digits(String text, int from, int count) {
        int value = 0;
        for (int at = from; at < from + count; at++) {
            int digit = text.charAt(at) - '0';
            if (digit < 0 || digit > 9) {
                return -1;
            }
            value = value * 10 + digit;
        }
        return value;
    }
}

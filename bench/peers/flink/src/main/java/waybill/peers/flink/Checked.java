package waybill.peers.flink;

import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple5;

/**
 * A message after the check, as it goes through the job: a tuple, because Flink serialises those without reflection.
 * Its fields: identity "sensor_id|event_time", key, value, digest, code. Of a refused message the identity is empty,
 * the value is the message itself and the digest is empty; of a valid one the value is the payload and the code empty.
 */
final class Checked {
    static final TypeInformation<byte[]> BYTES = TypeInformation.of(byte[].class);
    static final TypeInformation<Tuple5<String, byte[], byte[], byte[], String>> TYPE =
        Types.TUPLE(Types.STRING, BYTES, BYTES, BYTES, Types.STRING);
    private static final byte[] NOTHING = {};

    private Checked() {}

    static Tuple5<String, byte[], byte[], byte[], String> valid(
        String identity, byte[] key, byte[] payload, byte[] digest) {
        return Tuple5.of(identity, key, payload, digest, "");
    }

    static Tuple5<String, byte[], byte[], byte[], String> refused(byte[] key, byte[] message, String code) {
        return Tuple5.of("", key, message, NOTHING, code);
    }

    static boolean isValid(Tuple5<String, byte[], byte[], byte[], String> checked) {
        return checked.f4.isEmpty();
    }
}

package waybill.peers.streams;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import waybill.peers.Reading;

/**
 * A valid reading between the stages: what batch needs stands in front of the payload, so that no JSON is read twice.
 * digest (32), length of identity (1), identity, length of group (1), group, payload.
 */
record Member(byte[] bytes) {
    static final int DIGEST = 32;

    /** The bytes of the reading that was just read. */
    static byte[] frame(byte[] digest, Reading reading) {
        byte[] identity = reading.identity();
        byte[] group = (reading.product() + '|' + reading.day()).getBytes(StandardCharsets.UTF_8);
        byte[] payload = reading.payload();
        return ByteBuffer.allocate(DIGEST + 2 + identity.length + group.length + payload.length)
            .put(digest).put((byte) identity.length).put(identity).put((byte) group.length).put(group).put(payload)
            .array();
    }

    byte[] digest() {
        return Arrays.copyOf(bytes, DIGEST);
    }

    byte[] identity() {
        return Arrays.copyOfRange(bytes, DIGEST + 1, afterIdentity());
    }

    /** "product|date" */
    String group() {
        int at = afterIdentity();
        return new String(bytes, at + 1, bytes[at] & 255, StandardCharsets.UTF_8);
    }

    byte[] payload() {
        return Arrays.copyOfRange(bytes, payloadAt(), bytes.length);
    }

    private int afterIdentity() {
        return DIGEST + 1 + (bytes[DIGEST] & 255);
    }

    private int payloadAt() {
        int at = afterIdentity();
        return at + 1 + (bytes[at] & 255);
    }
}

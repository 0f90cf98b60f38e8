package waybill.peers;

import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Digests. */
public final class Sha256 {
    private Sha256() {}

    /** One to be kept and used over and over by one thread: its digest() starts it anew. */
    public static MessageDigest make() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException missing) {
            throw new IllegalStateException(missing);
        }
    }
}

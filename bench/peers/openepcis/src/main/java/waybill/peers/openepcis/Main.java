package waybill.peers.openepcis;

import io.openepcis.constants.CBVVersion;
import io.openepcis.epc.eventhash.EventHashGenerator;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import waybill.peers.Job;
import waybill.peers.Meter;

/** The OpenEPCIS peer: the event hashes of JSON-LD documents, one a line. Job: bench/peers/epcis_hash/generators.py. */
public final class Main {
    private Main() {}

    /** Reads every document once, and reports. */
    public static void main(String[] arguments) throws Exception {
        Job job = Job.of(arguments);
        List<byte[]> documents = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(job.text("documents")))) {
            documents.add(line.getBytes(StandardCharsets.UTF_8));
        }
        Meter meter = new Meter();
        meter.begin();
        meter.fetched(System.nanoTime());
        List<String> hashes = new ArrayList<>();
        EventHashGenerator generator = new EventHashGenerator(CBVVersion.VERSION_2_0_0);
        for (byte[] document : documents) {
            generator.fromJson(new ByteArrayInputStream(document), "sha-256").subscribe().asStream()
                .forEach(hashes::add);
            meter.passed(hashes.size());
        }
        Files.writeString(Path.of(job.text("hashes")), String.join("\n", hashes));
        meter.tell(hashes.size(), 0, 0, Map.of());
    }
}

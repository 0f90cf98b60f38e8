package waybill.peers;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Clock and processor time of a run, and the line that says so (bench/process.py). Thread-safe. */
public final class Meter {
    private static final OperatingSystemMXBean SYSTEM =
        (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    private static final double NANO = 1e-9;
    private static final double TICKS = 100;
    private static final String WORK = "work";

    private record Mark(long clock, long cpu, long records) {}

    private final List<Mark> marks = new ArrayList<>();
    private long cpu;
    private Map<String, Double> threads;
    private volatile long first;

    /** Starts to count processor time; a later call starts anew. To be called before clients are made. */
    public synchronized void begin() {
        cpu = SYSTEM.getProcessCpuTime();
        threads = threads();
    }

    /** The first messages came from a fetch that began at `clock` (System.nanoTime). */
    public void fetched(long clock) {
        if (first == 0) {
            first = clock;
        }
    }

    /** Whether anything was fetched yet. */
    public boolean running() {
        return first != 0;
    }

    /** So many records are behind us, just now. */
    public synchronized void passed(long records) {
        marks.add(new Mark(System.nanoTime(), SYSTEM.getProcessCpuTime(), records));
    }

    /**
     * Prints the last line and ends the process without tidying up. "warm" is what came after the first mark at or
     * beyond half of the records.
     */
    public synchronized void tell(long records, long transactions, long redone, Map<String, ?> more)
        throws IOException {
        Mark last = marks.get(marks.size() - 1);
        Mark half = marks.stream().filter(mark -> mark.records >= records / 2).findFirst().orElse(last);
        ObjectMapper json = new ObjectMapper();
        ObjectNode line = json.createObjectNode();
        line.put("records", records);
        line.put("seconds", (last.clock - first) * NANO);
        line.put("cpu", (last.cpu - cpu) * NANO);
        Map<String, Double> spent = threads();
        threads.forEach((kind, before) -> spent.merge(kind, -before, Double::sum));
        double helpers = spent.entrySet().stream()
            .filter(entry -> !entry.getKey().equals(WORK)).mapToDouble(Map.Entry::getValue).sum();
        spent.put(WORK, (last.cpu - cpu) * NANO - helpers); // and of threads that have ended
        spent.replaceAll((kind, seconds) -> Math.round(seconds * 1000) / 1000.0);
        line.set("threads", json.valueToTree(spent));
        line.put("transactions", transactions);
        line.put("redone", redone);
        line.put("warm_records", last.records - half.records);
        line.put("warm_seconds", (last.clock - half.clock) * NANO);
        line.put("warm_cpu", (last.cpu - half.cpu) * NANO);
        line.set("counts", json.valueToTree(more));
        System.out.println(json.writeValueAsString(line));
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    /** Processor seconds by kind of the threads that are alive (Linux; elsewhere nothing). */
    private static Map<String, Double> threads() {
        Map<String, Double> spent = new TreeMap<>();
        try (DirectoryStream<Path> tasks = Files.newDirectoryStream(Path.of("/proc/self/task"))) {
            for (Path task : tasks) {
                String stat = Files.readString(task.resolve("stat"));
                String name = stat.substring(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
                String[] numbers = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
                double seconds = (Long.parseLong(numbers[11]) + Long.parseLong(numbers[12])) / TICKS;
                spent.merge(kind(name), seconds, Double::sum);
            }
        } catch (IOException elsewhere) {
            return spent;
        }
        return spent;
    }

    private static String kind(String name) {
        if (name.contains("CompilerThre") || name.startsWith("Sweeper")) {
            return "compiler";
        }
        if (name.startsWith("GC ") || name.startsWith("G1 ") || name.startsWith("VM ") || name.startsWith("ParGC")) {
            return "collector";
        }
        if (name.startsWith("kafka-produc")) {
            return "client";
        }
        if (name.startsWith("rocksdb")) {
            return "rocksdb";
        }
        return WORK;
    }
}

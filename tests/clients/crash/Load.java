// The Java half of the crash campaign (tests/crash_campaign.rs): producers that go on across crashes of the broker, and
// print what was acknowledged.
//
//   java Load BOOTSTRAP TOPIC=ACKS...       ACKS is all (idempotent) or 1
//
// Read:     go | pause | end
// Printed:  A TOPIC PARTITION OFFSET TAG    acknowledged
//           F TOPIC TAG ERROR               given up
//           PAUSED                          all that was sent has its line

import java.io.BufferedReader;
import java.io.BufferedOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;

import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class Load implements Runnable {
    private static final int PARTITIONS = 3;
    private static final PrintStream OUT =
        new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.US_ASCII);

    private final String topic;
    private final KafkaProducer<byte[], byte[]> producer;
    private boolean running;
    private boolean idle = true;
    private long sent;

    private Load(String bootstrap, String topic, String acks) {
        this.topic = topic;
        var properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("acks", acks);
        properties.put("enable.idempotence", String.valueOf(acks.equals("all")));
        properties.put("compression.type", acks.equals("all") ? "zstd" : "none");
        properties.put("linger.ms", "2");
        properties.put("delivery.timeout.ms", "120000");
        properties.put("reconnect.backoff.ms", "20");
        properties.put("reconnect.backoff.max.ms", "200");
        properties.put("retry.backoff.ms", "20");
        properties.put("retry.backoff.max.ms", "200");
        this.producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    public static void main(String[] arguments) throws Exception {
        var loads = new ArrayList<Load>();
        for (var argument : Arrays.asList(arguments).subList(1, arguments.length)) {
            var parts = argument.split("=");
            var load = new Load(arguments[0], parts[0], parts[1]);
            loads.add(load);
            var thread = new Thread(load);
            thread.setDaemon(true);
            thread.start();
        }
        var in = new BufferedReader(new InputStreamReader(System.in));
        for (var line = in.readLine(); line != null && !line.equals("end"); line = in.readLine()) {
            command(loads, line.equals("go"));
        }
    }

    private static void command(List<Load> loads, boolean go) throws Exception {
        for (var load : loads) load.set(go);
        if (go) return;
        for (var load : loads) load.settle();
        print("PAUSED");
        synchronized (OUT) {
            OUT.flush();
        }
    }

    private static void print(String line) {
        synchronized (OUT) {
            OUT.println(line);
        }
    }

    private synchronized void set(boolean go) {
        running = go;
        notifyAll();
    }

    private void settle() throws InterruptedException {
        synchronized (this) {
            while (!idle) wait();
        }
        producer.flush();
    }

    @Override
    public void run() {
        try {
            while (true) {
                synchronized (this) {
                    idle = !running;
                    notifyAll();
                    if (idle) {
                        wait();
                        continue;
                    }
                }
                for (int i = 0; i < 10; i++) send(sent++);
                Thread.sleep(5);
            }
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private void send(long tag) {
        var record = new ProducerRecord<byte[], byte[]>(topic, (int) (tag % PARTITIONS), null, value(topic, tag));
        producer.send(record, (at, error) -> print(error == null
            ? "A " + topic + " " + at.partition() + " " + at.offset() + " " + tag
            : "F " + topic + " " + tag + " " + error.getClass().getSimpleName()));
    }

    /** As `value` in tests/crash_campaign.rs. */
    private static byte[] value(String topic, long tag) {
        var head = (topic + " " + tag + " ").getBytes(StandardCharsets.US_ASCII);
        var value = Arrays.copyOf(head, head.length + (int) (tag * 7919 % 3000));
        var state = tag;
        for (int at = head.length; at < value.length; at++) {
            state = state * 6364136223846793005L + 1442695040888963407L;
            value[at] = (byte) (state >>> 56);
        }
        return value;
    }
}

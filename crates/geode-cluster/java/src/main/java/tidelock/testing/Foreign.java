package tidelock.testing;

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.geode.DataSerializer;
import org.apache.geode.cache.CacheTransactionManager;
import org.apache.geode.cache.Region;
import org.apache.geode.cache.client.ClientCache;
import org.apache.geode.cache.client.ClientCacheFactory;
import org.apache.geode.cache.client.ClientRegionShortcut;
import org.apache.geode.cache.query.SelectResults;
import org.apache.geode.cache.snapshot.SnapshotOptions.SnapshotFormat;
import org.apache.geode.pdx.JSONFormatter;
import org.apache.geode.pdx.PdxInstance;

/**
 * The foreign Java application: a client of the cluster that does what its standard input says, a command a line, its
 * words parted by tabs, and answers each with a line: `ok`, a tab and a text, or `error`, a tab and a sentence.
 */
public final class Foreign {
  private static ClientCache cache;
  private static final Map<String, Region<Object, Object>> REGIONS = new HashMap<>();

  private Foreign() {}

  /** Arguments: address of the locator as `host[port]`, process id of the owner. */
  public static void main(String[] arguments) throws Exception {
    Node.endWith(Long.parseLong(arguments[1]));
    String[] locator = arguments[0].split("[\\[\\]]");
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    // Geode logs to standard output.
    System.setOut(System.err);
    cache = new ClientCacheFactory().set("log-level", "error").set("name", "foreign")
        .addPoolLocator(locator[0], Integer.parseInt(locator[1])).setPdxReadSerialized(true)
        .setPoolPRSingleHopEnabled(true).create();
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      try {
        out.println("ok\t" + run(line.split("\t", -1)));
      } catch (Exception | LinkageError error) {
        out.println("error\t" + error.toString().replaceAll("\\s+", " "));
      }
    }
    Runtime.getRuntime().halt(0);
  }

  private static Region<Object, Object> region(String name) {
    return REGIONS.computeIfAbsent(name,
        one -> cache.createClientRegionFactory(ClientRegionShortcut.PROXY).create(one));
  }

  private static String run(String[] words) throws Exception {
    switch (words[0]) {
      case "put-json":
        region(words[1]).put(words[2], JSONFormatter.fromJSON(words[3]));
        return "";
      case "put-text":
        region(words[1]).put(words[2], words[3]);
        return "";
      case "put-person":
        region(words[1]).put(words[2], new Person());
        return "";
      case "put-opaque":
        region(words[1]).put(words[2], new StringBuilder("only Java reads this"));
        return "";
      case "put-integer-key":
        region(words[1]).put(Integer.valueOf(words[2]), words[3]);
        return "";
      case "get":
        return show(region(words[1]).get(words[2]));
      case "get-integer-key":
        return show(region(words[1]).get(Integer.valueOf(words[2])));
      case "destroy":
        return String.valueOf(region(words[1]).remove(words[2]) != null);
      case "invalidate":
        region(words[1]).invalidate(words[2]);
        return "";
      case "clear":
        region(words[1]).clear();
        return "";
      case "export":
        region(words[1]).getSnapshotService().save(new File(words[2]), SnapshotFormat.GEMFIRE);
        return "";
      case "import":
        // As `gfsh import data` without options: without events.
        region(words[1]).getSnapshotService().load(new File(words[2]), SnapshotFormat.GEMFIRE);
        return "";
      case "bytes":
        return hex(bytesOf(JSONFormatter.fromJSON(words[1])));
      case "stored-bytes":
        return hex(bytesOf(region(words[1]).get(words[2])));
      case "equals":
        return String.valueOf(region(words[1]).get(words[2]).equals(JSONFormatter.fromJSON(words[3])));
      case "query":
        return query(words[1]);
      case "increment":
        return increment(words[1], words[2], Integer.parseInt(words[3]));
      case "bench":
        return bench(words[1], words[2], Integer.parseInt(words[3]));
      default:
        throw new IllegalArgumentException("no such command: " + words[0]);
    }
  }

  private static String show(Object value) {
    if (value == null) {
      return "null";
    }
    if (value instanceof PdxInstance) {
      return ((PdxInstance) value).getClassName() + " " + JSONFormatter.toJSON((PdxInstance) value);
    }
    return value.getClass().getName() + " " + value;
  }

  private static byte[] bytesOf(Object value) throws Exception {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    DataSerializer.writeObject(value, new DataOutputStream(bytes));
    return bytes.toByteArray();
  }

  private static String hex(byte[] bytes) {
    StringBuilder out = new StringBuilder();
    for (byte one : bytes) {
      out.append(String.format("%02x", one));
    }
    return out.toString();
  }

  private static String query(String oql) throws Exception {
    SelectResults<?> results = (SelectResults<?>) cache.getQueryService().newQuery(oql).execute();
    StringBuilder out = new StringBuilder();
    for (Object one : results) {
      out.append(out.length() == 0 ? "" : " | ").append(show(one));
    }
    return out.toString();
  }

  /** Adds one to the field `n` of a document, so many times, each in a transaction that is repeated on conflict. */
  private static String increment(String region, String key, int times) {
    CacheTransactionManager transactions = cache.getCacheTransactionManager();
    int conflicts = 0;
    for (int done = 0; done < times;) {
      transactions.begin();
      PdxInstance document = (PdxInstance) region(region).get(key);
      int n = ((Number) document.getField("n")).intValue();
      region(region).put(key, JSONFormatter.fromJSON("{\"n\":" + (n + 1) + "}"));
      try {
        transactions.commit();
        done++;
      } catch (org.apache.geode.cache.CommitConflictException conflict) {
        conflicts++;
      }
    }
    return String.valueOf(conflicts);
  }

  /** Measures one thread; answers operations per second. */
  private static String bench(String what, String region, int count) {
    Region<Object, Object> docs = region(region);
    CacheTransactionManager transactions = cache.getCacheTransactionManager();
    PdxInstance document = JSONFormatter.fromJSON("{\"name\":\"Ada Lovelace\",\"age\":36,\"tags\":[\"a\",\"b\"],\"ok\":true}");
    long start = System.nanoTime();
    for (int at = 0; at < count; at++) {
      String key = "bench-" + at % 1000;
      switch (what) {
        case "put":
          docs.put(key, document);
          break;
        case "get":
          docs.get(key);
          break;
        default:
          transactions.begin();
          docs.get(key);
          docs.put(key, document);
          transactions.commit();
      }
    }
    return String.valueOf(count * 1e9 / (System.nanoTime() - start));
  }
}

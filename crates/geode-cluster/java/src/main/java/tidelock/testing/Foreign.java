package tidelock.testing;

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.geode.DataSerializer;
import org.apache.geode.cache.CacheTransactionManager;
import org.apache.geode.cache.CommitConflictException;
import org.apache.geode.cache.Region;
import org.apache.geode.cache.TransactionDataNotColocatedException;
import org.apache.geode.cache.client.ClientCache;
import org.apache.geode.cache.client.ClientCacheFactory;
import org.apache.geode.cache.client.ClientRegionFactory;
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

  /** Arguments: address of the locator as `host[port]`, process id of the owner, and of a listener the name of its durable queue. */
  public static void main(String[] arguments) throws Exception {
    Node.endWith(Long.parseLong(arguments[1]));
    String[] locator = arguments[0].split("[\\[\\]]");
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    // Geode logs to standard output.
    System.setOut(System.err);
    ClientCacheFactory factory = new ClientCacheFactory().set("log-level", "error").set("name", "foreign")
        .addPoolLocator(locator[0], Integer.parseInt(locator[1])).setPdxReadSerialized(true)
        .setPoolPRSingleHopEnabled(true);
    if (arguments.length > 2) {
      factory.set("durable-client-id", arguments[2]).setPoolSubscriptionEnabled(true).setPoolSubscriptionRedundancy(1);
    }
    cache = factory.create();
    // The pool comes into being with the first region, and documents need it for their types.
    region("docs");
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      try {
        out.println("ok\t" + run(line.split("\t", -1)));
      } catch (Exception | LinkageError error) {
        StringBuilder sentence = new StringBuilder();
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
          sentence.append(sentence.length() == 0 ? "" : ", caused by ").append(cause);
        }
        out.println("error\t" + sentence.toString().replaceAll("\\s+", " "));
      }
    }
    Runtime.getRuntime().halt(0);
  }

  /** A region by its name, or one within another by its path. */
  private static Region<Object, Object> region(String path) {
    Region<Object, Object> known = REGIONS.get(path);
    if (known == null) {
      int end = path.lastIndexOf('/');
      ClientRegionFactory<Object, Object> factory = cache.createClientRegionFactory(ClientRegionShortcut.PROXY);
      known = end <= 0 ? factory.create(path.substring(end + 1))
          : factory.createSubregion(region(path.substring(0, end)), path.substring(end + 1));
      REGIONS.put(path, known);
    }
    return known;
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
      case "put-numbers":
        region(words[1]).put(words[2], numbers());
        return "";
      case "put-bytes":
        region(words[1]).put(words[2], new byte[] {1, 2, 3});
        return "";
      case "put-text-of":
        // A text too long for one line of commands.
        region(words[1]).put(words[2], JSONFormatter.fromJSON(words[3].replace("@long", words[4].repeat(Integer.parseInt(words[5])))));
        return "";
      case "put-key":
        // Under a key that is no string: its kind, its text, and the document.
        region(words[1]).put(Keys.of(words[2], words[3]), JSONFormatter.fromJSON(words[4]));
        return "";
      case "destroy-key":
        region(words[1]).destroy(Keys.of(words[2], words[3]));
        return "";
      case "put-integer-key":
        region(words[1]).put(Integer.valueOf(words[2]), words[3]);
        return "";
      case "get":
        return show(region(words[1]).get(words[2]));
      case "get-integer-key":
        return show(region(words[1]).get(Integer.valueOf(words[2])));
      case "destroy":
        region(words[1]).destroy(words[2]);
        return "";
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
      case "golden-json":
        return Golden.of(cache, JSONFormatter.fromJSON(words[1]));
      case "golden-person":
        return Golden.of(cache, new Person());
      case "golden-enum":
        return Golden.constant(cache, Person.Colour.GREEN);
      case "stored-bytes":
        return hex(bytesOf(region(words[1]).get(words[2])));
      case "equals":
        return String.valueOf(region(words[1]).get(words[2]).equals(JSONFormatter.fromJSON(words[3])));
      case "query":
        return query(words[1]);
      case "increment":
        return increment(words[1], words[2], Integer.parseInt(words[3]));
      case "increment-by-replace":
        return Storm.increment(region(words[1]), words[2], words[3].split(","), Integer.parseInt(words[4]),
            Integer.parseInt(words[5]));
      case "types":
        return types((PdxInstance) region(words[1]).get(words[2]));
      case "await":
        return await(region(words[1]), words[2], words[3], words[4]);
      case "put-now":
        return putNow(region(words[1]), words[2], words[3]);
      case "together":
        return String.valueOf(together(words));
      case "put-together":
        return putTogether(words);
      case "empty":
        return empty(words);
      case "listen":
        Listener.listen(region(words[1]));
        return "";
      case "drain":
        return Listener.drain(cache, Integer.parseInt(words[1]));
      case "leave":
        cache.close(true);
        return "";
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

  /** Numbers at the edges, and others that JSON has no place for. */
  private static PdxInstance numbers() {
    return cache.createPdxInstanceFactory("tidelock.testing.Numbers").writeLong("most", Long.MAX_VALUE)
        .writeLong("least", Long.MIN_VALUE).writeLong("odd", 9007199254740993L)
        .writeObject("huge", new BigInteger("-123456789012345678901234567890")).writeFloat("single", 0.1f)
        .writeDouble("nan", Double.NaN).writeDouble("infinite", Double.NEGATIVE_INFINITY).writeDouble("whole", 5.0)
        .writeDouble("tiny", Double.MIN_VALUE).writeDouble("large", Double.MAX_VALUE).writeChar("letter", '\u20ac')
        .writeObjectArray("mixed", new Object[] {1, 2L, 0.5f, "x", null, true, new Date(5)}).create();
  }

  static byte[] bytesOf(Object value) throws Exception {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    DataSerializer.writeObject(value, new DataOutputStream(bytes));
    return bytes.toByteArray();
  }

  static String hex(byte[] bytes) {
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

  /** The fields of a document with the classes of their values, those of lists and documents within as well. */
  private static String types(Object value) {
    if (value instanceof PdxInstance) {
      PdxInstance document = (PdxInstance) value;
      return document.getFieldNames().stream().sorted().map(name -> name + ":" + types(document.getField(name)))
          .collect(Collectors.joining(",", "{", "}"));
    }
    if (value instanceof List) {
      return ((List<?>) value).stream().map(Foreign::types).collect(Collectors.joining(",", "[", "]"));
    }
    return value == null ? "null" : value.getClass().getSimpleName();
  }

  /** Reads a document until a field of it is as given; answers when that was, in milliseconds since 1970. */
  private static String await(Region<Object, Object> region, String key, String field, String text) throws Exception {
    long deadline = System.nanoTime() + 60_000_000_000L;
    while (System.nanoTime() < deadline) {
      Object value = region.get(key);
      if (value instanceof PdxInstance && text.equals(String.valueOf(((PdxInstance) value).getField(field)))) {
        return String.valueOf(System.currentTimeMillis());
      }
      Thread.sleep(1);
    }
    throw new IllegalStateException(key + " has not got " + field + " = " + text + " within a minute");
  }

  /** Writes a document, of which `@now` is the time in milliseconds since 1970. */
  private static String putNow(Region<Object, Object> region, String key, String json) {
    // The first document of a shape waits for its type; what is measured is a write.
    JSONFormatter.fromJSON(json.replace("@now", String.valueOf(System.currentTimeMillis())));
    long now = System.currentTimeMillis();
    region.put(key, JSONFormatter.fromJSON(json.replace("@now", String.valueOf(now))));
    return String.valueOf(now);
  }

  /** Whether the primary copies of entries, a region and a key each, are on one member: a transaction covers them. */
  private static boolean together(String[] words) {
    CacheTransactionManager transactions = cache.getCacheTransactionManager();
    transactions.begin();
    try {
      for (int at = 1; at + 1 < words.length; at += 2) {
        region(words[at]).get(words[at + 1]);
      }
      return true;
    } catch (TransactionDataNotColocatedException apart) {
      return false;
    } finally {
      transactions.rollback();
    }
  }

  /** Writes documents in one transaction: a region, a key and a document in turn. */
  private static String putTogether(String[] words) {
    CacheTransactionManager transactions = cache.getCacheTransactionManager();
    while (true) {
      transactions.begin();
      for (int at = 1; at + 2 < words.length; at += 3) {
        region(words[at]).put(words[at + 1], JSONFormatter.fromJSON(words[at + 2]));
      }
      try {
        transactions.commit();
        return "";
      } catch (CommitConflictException conflict) {
        // Another writer was faster: once more.
      }
    }
  }

  /** Removes all entries of some regions. */
  private static String empty(String[] regions) {
    for (int at = 1; at < regions.length; at++) {
      Region<Object, Object> region = region(regions[at]);
      region.removeAll(region.keySetOnServer());
    }
    return "";
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
      } catch (CommitConflictException conflict) {
        conflicts++;
      }
    }
    return String.valueOf(conflicts);
  }

  /** Measures one thread; answers the seconds that it took. */
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
    return String.valueOf((System.nanoTime() - start) / 1e9);
  }
}

package tidelock.testing;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.geode.cache.Region;
import org.apache.geode.cache.client.ServerOperationException;
import org.apache.geode.pdx.JSONFormatter;
import org.apache.geode.pdx.PdxInstance;

/** Many writers of one document, as Java applications write them: read, change, `replace(key, old, new)`, and again if it failed. */
final class Storm {
  private static final ObjectMapper JSON = new ObjectMapper();

  private Storm() {}

  /** Adds one to each of some fields, so many times on each of so many threads; answers how often another writer was faster. */
  static String increment(Region<Object, Object> region, String key, String[] fields, int threads, int times)
      throws Exception {
    ExecutorService workers = Executors.newFixedThreadPool(threads);
    AtomicInteger lost = new AtomicInteger();
    try {
      List<Callable<Void>> tasks = new ArrayList<>();
      for (int thread = 0; thread < threads; thread++) {
        tasks.add(() -> {
          for (int done = 0; done < times;) {
            if (replace(region, key, fields)) {
              done++;
            } else {
              lost.incrementAndGet();
            }
          }
          return null;
        });
      }
      for (Future<Void> task : workers.invokeAll(tasks)) {
        task.get();
      }
    } finally {
      workers.shutdownNow();
    }
    return lost.toString();
  }

  private static boolean replace(Region<Object, Object> region, String key, String[] fields) throws Exception {
    PdxInstance old = (PdxInstance) region.get(key);
    // The fields have the narrowest type that fits, so a writer of the instance could not count beyond it.
    ObjectNode document = (ObjectNode) JSON.readTree(JSONFormatter.toJSON(old));
    for (String field : fields) {
      document.put(field, document.get(field).asInt() + 1);
    }
    try {
      return region.replace(key, old, JSONFormatter.fromJSON(document.toString()));
    } catch (ServerOperationException differs) {
      // Geode compares fields of different types by reading one as the other, which may fail.
      return false;
    }
  }
}

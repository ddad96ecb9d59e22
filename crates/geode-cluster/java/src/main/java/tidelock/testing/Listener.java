package tidelock.testing;

import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.geode.cache.EntryEvent;
import org.apache.geode.cache.InterestResultPolicy;
import org.apache.geode.cache.Region;
import org.apache.geode.cache.client.ClientCache;
import org.apache.geode.cache.util.CacheListenerAdapter;

/** Hears of the changes of a region by a durable queue. */
final class Listener extends CacheListenerAdapter<Object, Object> {
  private static final Semaphore HEARD = new Semaphore(0);

  private Listener() {}

  static void listen(Region<Object, Object> region) {
    region.getAttributesMutator().addCacheListener(new Listener());
    region.registerInterestRegex(".*", InterestResultPolicy.NONE, true);
  }

  /** Lets the queue flow, and waits for so many events; answers the seconds that they took. */
  static String drain(ClientCache cache, int count) throws InterruptedException {
    long start = System.nanoTime();
    cache.readyForEvents();
    if (!HEARD.tryAcquire(count, 5, TimeUnit.MINUTES)) {
      throw new IllegalStateException("only " + HEARD.availablePermits() + " events came within five minutes");
    }
    return String.valueOf((System.nanoTime() - start) / 1e9);
  }

  @Override
  public void afterCreate(EntryEvent<Object, Object> event) {
    HEARD.release();
  }

  @Override
  public void afterUpdate(EntryEvent<Object, Object> event) {
    HEARD.release();
  }
}

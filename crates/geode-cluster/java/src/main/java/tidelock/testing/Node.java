package tidelock.testing;

import org.apache.geode.distributed.LocatorLauncher;
import org.apache.geode.distributed.ServerLauncher;

/** A locator or a server that ends when the process that owns it ends. */
public final class Node {
  private Node() {}

  /** Arguments: `locator` or `server`, name, port, process id of the owner, address to listen on. */
  public static void main(String[] arguments) throws Exception {
    endWith(Long.parseLong(arguments[3]));
    if (arguments[0].equals("locator")) {
      LocatorLauncher.main(new String[] {"start", arguments[1], "--port=" + arguments[2],
          "--bind-address=" + arguments[4]});
    } else {
      ServerLauncher.main(new String[] {"start", arguments[1], "--server-port=" + arguments[2],
          "--server-bind-address=" + arguments[4]});
    }
  }

  static void endWith(long owner) {
    ProcessHandle handle = ProcessHandle.of(owner).orElse(null);
    if (handle == null) {
      Runtime.getRuntime().halt(3);
      return;
    }
    handle.onExit().thenRun(() -> Runtime.getRuntime().halt(3));
  }
}

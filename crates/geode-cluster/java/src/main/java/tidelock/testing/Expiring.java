package tidelock.testing;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import org.apache.geode.security.AuthenticationFailedException;
import org.apache.geode.security.GemFireSecurityException;
import org.apache.geode.security.ResourcePermission;
import org.apache.geode.security.SecurityManager;

/**
 * A user's name is his password, and he may do everything. Files in the folder of a process name one user each: what he has
 * authenticated before `expired` was written has expired, and while there is `refused` he is not let in.
 */
public final class Expiring implements SecurityManager {
  @Override
  public Object authenticate(Properties credentials) {
    String name = credentials.getProperty(USER_NAME);
    if (name == null || !name.equals(credentials.getProperty(PASSWORD)) || names("refused", name)) {
      throw new AuthenticationFailedException("not this user, or not any more");
    }
    return name + "@" + System.currentTimeMillis();
  }

  @Override
  public boolean authorize(Object principal, ResourcePermission permission) {
    String[] nameAndTime = principal.toString().split("@");
    if (names("expired", nameAndTime[0]) && Long.parseLong(nameAndTime[1]) <= written("expired")) {
      throw expired();
    }
    return true;
  }

  /** Found by its name: Geode 1.14 has no such exception, and compiles this, too. */
  private static GemFireSecurityException expired() {
    try {
      Class<?> expired = Class.forName("org.apache.geode.security.AuthenticationExpiredException");
      return (GemFireSecurityException) expired.getConstructor(String.class).newInstance("expired");
    } catch (ReflectiveOperationException error) {
      throw new IllegalStateException(error);
    }
  }

  private static boolean names(String file, String name) {
    try {
      Path path = Path.of(file);
      return Files.exists(path) && Files.readString(path).equals(name);
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }

  private static long written(String file) {
    try {
      return Files.getLastModifiedTime(Path.of(file)).toMillis();
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }
}

package tidelock.testing;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.TreeMap;
import org.apache.geode.cache.client.ClientCache;
import org.apache.geode.internal.cache.InternalCache;
import org.apache.geode.pdx.PdxInstance;
import org.apache.geode.pdx.internal.PdxInstanceImpl;
import org.apache.geode.pdx.internal.TypeRegistry;

/** What Java makes of objects, byte by byte, with the types that they need: for tests that have no cluster. */
final class Golden {
  private Golden() {}

  /** The serialised object in hexadecimal digits; then, parted by spaces, each type: its id, `:`, and its own bytes. */
  static String of(ClientCache cache, Object object) throws Exception {
    byte[] bytes = Foreign.bytesOf(object);
    TreeMap<Integer, String> types = new TreeMap<>();
    // Code and length come before the id of the type.
    types.put(ByteBuffer.wrap(bytes).getInt(5), null);
    collect(object, types);
    StringBuilder out = new StringBuilder(Foreign.hex(bytes));
    for (int id : types.keySet()) {
      out.append(' ').append(id).append(':').append(Foreign.hex(Foreign.bytesOf(registry(cache).getType(id))));
    }
    return out.toString();
  }

  /** The id of an enum constant, `:`, and its name. */
  static String constant(ClientCache cache, Enum<?> constant) {
    return registry(cache).getEnumId(constant) + ":" + constant.name();
  }

  private static TypeRegistry registry(ClientCache cache) {
    return ((InternalCache) cache).getPdxRegistry();
  }

  private static void collect(Object value, TreeMap<Integer, String> types) {
    if (value instanceof PdxInstance) {
      PdxInstance instance = (PdxInstance) value;
      types.put(((PdxInstanceImpl) instance).getPdxType().getTypeId(), null);
      for (String name : instance.getFieldNames()) {
        collect(instance.getField(name), types);
      }
    } else if (value instanceof List) {
      ((List<?>) value).forEach(item -> collect(item, types));
    }
  }
}

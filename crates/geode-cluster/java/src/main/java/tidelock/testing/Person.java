package tidelock.testing;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.geode.pdx.PdxReader;
import org.apache.geode.pdx.PdxSerializable;
import org.apache.geode.pdx.PdxWriter;

/** A domain class with a field of every kind that PDX knows. */
public final class Person implements PdxSerializable {
  /** An enum, which goes through the registry. */
  public enum Colour { RED, GREEN }

  private boolean bool = true;
  private byte tiny = -1;
  private char letter = 'x';
  private short small = 300;
  private int age = 36;
  private long big = Long.MAX_VALUE;
  private float ratio = 0.1f;
  private double exact = 0.1;
  private Date born = new Date(951782400123L);
  private String name = "Ada \u20ac";
  private Object colour = Colour.GREEN;
  private boolean[] bools = {true, false};
  private char[] chars = {'a', 'b'};
  private byte[] bytes = {1, -1};
  private short[] shorts = {1, -300};
  private int[] ints = {1, -70000};
  private long[] longs = {1, Long.MIN_VALUE};
  private float[] floats = {0.5f};
  private double[] doubles = {0.25};
  private String[] strings = {"s", null};
  private Object[] objects = {1, "two", null};
  private byte[][] blobs = {{1}, {2, 3}};
  private Object list = new ArrayList<>(List.of(1, 2L, "x"));
  private Object map = new HashMap<>(Map.of("k", new BigInteger("123456789012345678901234567890")));
  private Object decimal = new BigDecimal("1.50");
  private Object none = null;

  @Override
  public void toData(PdxWriter out) {
    out.writeBoolean("bool", bool).writeByte("tiny", tiny).writeChar("letter", letter).writeShort("small", small)
        .writeInt("age", age).writeString("name", name).writeLong("big", big).writeFloat("ratio", ratio)
        .writeDouble("exact", exact).writeDate("born", born).writeObject("colour", colour)
        .writeBooleanArray("bools", bools).writeCharArray("chars", chars).writeByteArray("bytes", bytes)
        .writeShortArray("shorts", shorts).writeIntArray("ints", ints).writeLongArray("longs", longs)
        .writeFloatArray("floats", floats).writeDoubleArray("doubles", doubles).writeStringArray("strings", strings)
        .writeObjectArray("objects", objects).writeArrayOfByteArrays("blobs", blobs).writeObject("list", list)
        .writeObject("map", map).writeObject("decimal", decimal).writeObject("none", none).writeInt("last", 7)
        .markIdentityField("name");
  }

  @Override
  public void fromData(PdxReader in) {
    name = in.readString("name");
    age = in.readInt("age");
  }
}

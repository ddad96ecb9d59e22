package tidelock.testing;

import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.io.Serializable;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.Objects;
import org.apache.geode.DataSerializable;
import org.apache.geode.DataSerializer;

/** Keys of entries that are no strings, each made of a text. */
final class Keys {
  private Keys() {}

  /** A key of a kind. */
  static Object of(String kind, String text) {
    switch (kind) {
      case "integer":
        return Integer.valueOf(text);
      case "serializable":
        return new Composite(text);
      case "data-serializable":
        return new Compact(text);
      case "enum":
        return Person.Colour.valueOf(text);
      default:
        throw new IllegalArgumentException("no such kind of key: " + kind);
    }
  }

  /** What its superclass has, and what only its own methods write. */
  abstract static class Part implements Serializable {
    private static final long serialVersionUID = 1;
    private final String region = "north";
    private transient int number = 7;

    private void writeObject(ObjectOutputStream out) throws IOException {
      out.defaultWriteObject();
      out.writeInt(number);
      out.writeObject(new Date(5));
    }

    private void readObject(ObjectInputStream in) throws IOException, ClassNotFoundException {
      in.defaultReadObject();
      number = in.readInt();
      in.readObject();
    }
  }

  /** A key of Java's own serialisation. */
  static final class Composite extends Part {
    private static final long serialVersionUID = 1;
    private final String text;
    private final long[] longs = {1, 2};
    private final Person.Colour colour = Person.Colour.GREEN;
    private final List<Object> path = new ArrayList<>();

    Composite(String text) {
      this.text = text;
      path.add(text);
      path.add(this);
      path.add(new byte[][] {{1}, null});
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Composite && ((Composite) other).text.equals(text);
    }

    @Override
    public int hashCode() {
      return text.hashCode();
    }
  }

  /** A key that writes itself. */
  public static final class Compact implements DataSerializable {
    private static final long serialVersionUID = 1;
    private String text;

    /** Before it is read. */
    public Compact() {}

    Compact(String text) {
      this.text = text;
    }

    @Override
    public void toData(DataOutput out) throws IOException {
      DataSerializer.writeString(text, out);
    }

    @Override
    public void fromData(DataInput in) throws IOException {
      text = DataSerializer.readString(in);
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Compact && Objects.equals(((Compact) other).text, text);
    }

    @Override
    public int hashCode() {
      return Objects.hashCode(text);
    }
  }
}

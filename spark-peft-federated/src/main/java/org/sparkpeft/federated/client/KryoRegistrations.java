package org.sparkpeft.federated.client;

import com.esotericsoftware.kryo.Kryo;
import org.apache.spark.serializer.KryoRegistrator;
import org.apache.spark.sql.types.ArrayType;
import org.apache.spark.sql.types.MapType;

/**
 * For sessions with {@code spark.kryo.registrationRequired}: name it in {@code
 * spark.kryo.registrator}. Nothing of spark-peft needs registering, since what it sends is bytes;
 * these are classes that Spark sends while it infers the schema of a file with lists and does not
 * register itself.
 */
public final class KryoRegistrations implements KryoRegistrator {
  @Override
  public void registerClasses(Kryo kryo) {
    kryo.register(ArrayType.class);
    kryo.register(MapType.class);
  }
}

package org.sparkpeft.federated.client;

import java.io.Serializable;
import java.util.Collection;
import java.util.HashSet;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.rdd.PartitionPruningRDD;
import scala.reflect.ClassTag$;
import scala.runtime.AbstractFunction1;

/**
 * Restricts an RDD to some of its partitions, without touching the others; cached partitions stay
 * where they are.
 */
final class PartitionsOf {
  private PartitionsOf() {}

  static JavaRDD<byte[]> select(JavaRDD<byte[]> rdd, Collection<Integer> partitions) {
    return new JavaRDD<>(
        PartitionPruningRDD.create(rdd.rdd(), new IsOneOf(partitions)),
        ClassTag$.MODULE$.apply(byte[].class));
  }

  private static final class IsOneOf extends AbstractFunction1<Object, Object>
      implements Serializable {
    private static final long serialVersionUID = 1L;
    private final HashSet<Integer> wanted;

    IsOneOf(Collection<Integer> wanted) {
      this.wanted = new HashSet<>(wanted);
    }

    @Override
    public Object apply(Object partition) {
      return wanted.contains((Integer) partition);
    }
  }
}

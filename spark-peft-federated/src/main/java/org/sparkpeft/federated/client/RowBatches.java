package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.function.Function;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.jspecify.annotations.Nullable;

/** The rows of a partition with a cell added, which a model computes for many rows at once. */
final class RowBatches implements Iterator<Row> {
  private final Iterator<Row> rows;
  private final int rowsAtOnce;
  private final Function<List<Row>, List<?>> cells;
  private Iterator<Row> ready = List.<Row>of().iterator();

  /**
   * @param cells for some rows, their new cells in the same order
   */
  RowBatches(Iterator<Row> rows, int rowsAtOnce, Function<List<Row>, List<?>> cells) {
    this.rows = rows;
    this.rowsAtOnce = rowsAtOnce;
    this.cells = cells;
  }

  @Override
  public boolean hasNext() {
    return ready.hasNext() || rows.hasNext();
  }

  @Override
  public Row next() {
    if (!hasNext()) {
      throw new NoSuchElementException();
    }
    if (!ready.hasNext()) {
      ready = batch();
    }
    return ready.next();
  }

  private Iterator<Row> batch() {
    List<Row> batch = new ArrayList<>();
    while (rows.hasNext() && batch.size() < rowsAtOnce) {
      batch.add(rows.next());
    }
    List<?> added = cells.apply(batch);
    List<Row> results = new ArrayList<>(batch.size());
    for (int i = 0; i < batch.size(); i++) {
      results.add(with(batch.get(i), added.get(i)));
    }
    return results.iterator();
  }

  private static Row with(Row row, @Nullable Object cell) {
    @Nullable Object[] all = new Object[row.length() + 1];
    for (int c = 0; c < row.length(); c++) {
      all[c] = row.get(c);
    }
    all[row.length()] = cell;
    return RowFactory.create(all);
  }
}

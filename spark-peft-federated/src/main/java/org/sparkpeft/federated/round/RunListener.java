package org.sparkpeft.federated.round;

/** Hears everything that happens in a run, in order, on the driver. */
@FunctionalInterface
public interface RunListener {
  void on(RunEvent event);
}

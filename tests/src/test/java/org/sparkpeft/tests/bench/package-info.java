/**
 * JMH benchmarks; not run by the build. After {@code mvn test-compile}, run {@code
 * org.openjdk.jmh.Main} on the test class path, for example with {@code MergeBenchmark -f 1}.
 */
@NullMarked
package org.sparkpeft.tests.bench;

import org.jspecify.annotations.NullMarked;

/**
 * JMH benchmarks; not run by the build. All of them, or those that a word names:
 *
 * <pre>
 * mvn -q test-compile org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath \
 *   -Dmdep.outputFile=/tmp/classpath -Dmdep.includeScope=test -pl tests -am
 * java -cp tests/target/test-classes:$(cat /tmp/classpath) org.openjdk.jmh.Main MergeBenchmark
 * </pre>
 */
@NullMarked
package org.sparkpeft.tests.bench;

import org.jspecify.annotations.NullMarked;

package org.sparkpeft.tests.arch;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.base.DescribedPredicate;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The table of packages in the README, as a test: what each may import, and that nothing goes in
 * circles.
 */
class PackageDirectionTest {
  private static final String ROOT = "org.sparkpeft.";
  private static final JavaClasses CLASSES =
      new ClassFileImporter()
          .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
          .importPackages("org.sparkpeft");

  private static final String DJL = "ai.djl..";
  private static final String JNA = "com.sun.jna..";
  private static final String SPARK = "org.apache.spark..";
  private static final String HADOOP = "org.apache.hadoop..";
  private static final String SCALA = "scala..";
  private static final String JACKSON = "com.fasterxml.jackson..";
  private static final String ARROW = "org.apache.arrow..";

  /** Package to what it may import, besides itself, the JDK, slf4j and the null annotations. */
  private static final Map<String, List<String>> MAY_IMPORT = mayImport();

  private static Map<String, List<String>> mayImport() {
    Map<String, List<String>> table = new TreeMap<>();
    table.put("core.error", List.of());
    table.put("core.random", List.of());
    table.put("core.vector", List.of());
    table.put("core.io", List.of("core.error", "core.vector", JACKSON));
    table.put("core.engine", List.of("core.error", "core.vector", DJL, JNA));
    table.put("core.nn", List.of("core.engine", "core.error", DJL));
    table.put(
        "core.model",
        List.of(
            "core.nn",
            "core.io",
            "core.engine",
            "core.vector",
            "core.error",
            "core.random",
            DJL,
            JACKSON));
    table.put(
        "core.generate",
        List.of("core.model", "core.io", "core.engine", "core.random", "core.error", DJL, JACKSON));
    table.put("core.metric", List.of("core.error"));
    table.put("core.text", List.of("core.io", "core.error", DJL, JACKSON));
    table.put("core.media", List.of("core.io", "core.model", "core.error", JACKSON));
    table.put(
        "core.data",
        List.of(
            "core.text",
            "core.engine",
            "core.model",
            "core.error",
            "core.random",
            "core.train",
            ARROW,
            SPARK));
    table.put(
        "core.peft",
        List.of(
            "core.vector",
            "core.nn",
            "core.model",
            "core.engine",
            "core.random",
            "core.error",
            "core.io",
            DJL,
            JACKSON));
    for (String family :
        List.of("additive", "allocation", "lora", "reparam", "sharing", "sparse")) {
      table.put(
          "core.peft." + family,
          List.of(
              "core.peft",
              "core.vector",
              "core.nn",
              "core.model",
              "core.random",
              "core.engine",
              "core.io",
              "core.text",
              "core.error",
              DJL,
              JACKSON));
    }
    table.put(
        "core.peft.lora",
        List.of(
            "core.peft",
            "core.vector",
            "core.nn",
            "core.model",
            "core.engine",
            "core.random",
            "core.error",
            "core.io",
            DJL));
    table.put(
        "core.peft.allocation",
        List.of(
            "core.vector",
            "core.nn",
            "core.model",
            "core.engine",
            "core.random",
            "core.error",
            "core.io",
            "core.peft",
            DJL));
    table.put(
        "core.train",
        List.of(
            "core.generate",
            "core.error",
            "core.random",
            "core.vector",
            "core.io",
            "core.engine",
            "core.nn",
            "core.model",
            "core.text",
            "core.peft",
            DJL,
            JACKSON));
    table.put("merge.compress", List.of("core.vector", "core.error", "core.random"));
    table.put(
        "merge.method",
        List.of("core.vector", "core.error", "core.random", "merge.compress", "org.hipparchus.."));
    table.put("merge.storage", List.of("core.io", "core.error", HADOOP, SPARK));
    table.put(
        "merge.spark",
        List.of(
            "core.io",
            "core.vector",
            "core.error",
            "merge.method",
            "merge.storage",
            JACKSON,
            SPARK,
            SCALA));
    table.put(
        "merge.recipe",
        List.of("core.io", "core.error", "merge.method", "merge.storage", "merge.spark", JACKSON));
    table.put(
        "merge.adapter",
        List.of("core.io", "core.vector", "core.error", "merge.method", "merge.compress", JACKSON));
    table.put(
        "federated.aggregate",
        List.of("core.vector", "core.error", "merge.method", "merge.compress"));
    table.put(
        "federated.server",
        List.of(
            "core.peft", "federated.aggregate", "core.vector", "core.io", "core.error", JACKSON));
    table.put(
        "federated.client",
        List.of(
            "core",
            "merge.compress",
            "merge.storage",
            "federated.aggregate",
            "federated.config",
            JACKSON,
            SPARK,
            HADOOP,
            SCALA,
            ARROW,
            "com.esotericsoftware.kryo.."));
    table.put(
        "federated.config",
        List.of(
            "core.error",
            "core.metric",
            "core.text",
            "core.model",
            "core.peft",
            "core.train",
            "merge.compress",
            "merge.recipe",
            "federated.aggregate",
            "federated.server",
            "org.snakeyaml.."));
    table.put(
        "federated.round",
        List.of(
            "core",
            "merge.compress",
            "federated.client",
            "federated.config",
            "federated.aggregate",
            "federated.server",
            SPARK,
            HADOOP,
            SCALA));
    table.put(
        "federated.search",
        List.of(
            "merge.recipe",
            "core.error",
            "core.io",
            "core.train",
            "core.vector",
            "core.peft",
            "merge.adapter",
            "merge.compress",
            "merge.method",
            "federated.client",
            "federated.config",
            SPARK,
            SCALA));
    table.put(
        "federated.track",
        List.of(
            "core.error",
            "core.io",
            "federated.round",
            JACKSON,
            "org.knowm.xchart..",
            "de.erichseifert.."));
    return table;
  }

  static List<String> packages() {
    return new ArrayList<>(MAY_IMPORT.keySet());
  }

  @ParameterizedTest
  @MethodSource("packages")
  void importsOnlyWhatItsLineNames(String name) {
    List<String> allowed =
        new ArrayList<>(List.of(ROOT + name, "java..", "javax..", "org.slf4j..", "org.jspecify.."));
    for (String other : MAY_IMPORT.get(name)) {
      if (other.endsWith("..")) {
        allowed.add(other);
      } else if (other.equals("core")) {
        allowed.add(ROOT + "core..");
      } else {
        allowed.add(ROOT + other);
      }
    }
    classes()
        .that()
        .resideInAPackage(ROOT + name)
        .should()
        .onlyDependOnClassesThat(
            JavaClass.Predicates.resideInAnyPackage(allowed.toArray(String[]::new))
                .or(isPrimitiveOrArrayOfJdk()))
        .check(CLASSES);
  }

  @Test
  void everyPackageHasALineOrIsAtTheTop() {
    List<String> top = List.of("federated.ml", "federated.cli");
    List<String> found =
        CLASSES.stream()
            .map(JavaClass::getPackageName)
            .distinct()
            .map(n -> n.substring(ROOT.length()))
            .sorted()
            .toList();
    assertThat(found)
        .allMatch(n -> MAY_IMPORT.containsKey(n) || top.contains(n), "has a line in the table");
    assertThat(found).containsAll(MAY_IMPORT.keySet());
    assertThat(CLASSES.size()).as("classes seen").isGreaterThan(150);
  }

  @Test
  void packagesHaveNoCycles() {
    slices().matching("org.sparkpeft.(**)").should().beFreeOfCycles().check(CLASSES);
  }

  @Test
  void nothingImportsTheTop() {
    noClasses()
        .that()
        .resideOutsideOfPackages(ROOT + "federated.ml", ROOT + "federated.cli")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage(ROOT + "federated.ml", ROOT + "federated.cli")
        .check(CLASSES);
  }

  @Test
  void onlyTheEngineKnowsItsOwnKind() {
    noClasses()
        .that()
        .resideOutsideOfPackage(ROOT + "core.engine")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("ai.djl.pytorch..")
        .check(CLASSES);
    noClasses()
        .that()
        .resideOutsideOfPackage(ROOT + "core..")
        .should()
        .dependOnClassesThat()
        .resideInAPackage(DJL)
        .check(CLASSES);
  }

  private static DescribedPredicate<JavaClass> isPrimitiveOrArrayOfJdk() {
    return DescribedPredicate.describe(
        "primitives and arrays",
        c -> c.isPrimitive() || (c.isArray() && c.getBaseComponentType().isPrimitive()));
  }

  /**
   * DJL frees the number before the backward pass reads it; {@code core.engine.Scalars} does not.
   */
  @Test
  void nothingMultipliesTensorsByNumbersInDjlsWay() {
    noClasses()
        .should()
        .callMethod(ai.djl.ndarray.NDArray.class, "mul", Number.class)
        .orShould()
        .callMethod(ai.djl.ndarray.NDArray.class, "div", Number.class)
        .check(CLASSES);
  }
}

package org.sparkpeft.tests.notebook;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.Test;
import org.sparkpeft.tests.support.Project;
import scala.tools.nsc.Settings;
import scala.tools.nsc.interpreter.IMain;
import scala.tools.nsc.interpreter.Results;
import scala.tools.nsc.interpreter.shell.ReplReporterImpl;

/**
 * Runs the cells of the notebooks in a Scala interpreter with a Spark session, as a notebook server
 * does.
 */
class NotebookTest {
  private static final Path NOTEBOOKS = Project.root().resolve("notebooks");

  @Test
  void bothFormatsHaveTheSameCells() throws IOException {
    assertThat(databricksCells("01-quickstart.scala"))
        .isEqualTo(zeppelinCells("01-quickstart.zpln"))
        .hasSizeGreaterThan(3);
  }

  @Test
  void quickstartRunsFromTopToBottom() throws IOException {
    String output = run(zeppelinCells("01-quickstart.zpln"));
    Matcher accuracy = Pattern.compile("accuracy on the test requests: (0\\.\\d+)").matcher(output);
    assertThat(accuracy.find()).as(output).isTrue();
    assertThat(Double.parseDouble(accuracy.group(1))).isGreaterThan(0.6);
    assertThat(output).contains("same predictions after loading: true");
  }

  private static String run(List<String> cells) {
    SparkSession spark =
        SparkSession.builder()
            .master("local[2]")
            .config("spark.ui.enabled", false)
            .config("spark.sql.shuffle.partitions", 2)
            .getOrCreate();
    StringWriter output = new StringWriter();
    Settings settings = new Settings();
    settings.classpath().value_$eq(System.getProperty("java.class.path"));
    IMain repl = new IMain(settings, new ReplReporterImpl(settings, new PrintWriter(output)));
    ClassLoader before = Thread.currentThread().getContextClassLoader();
    try {
      Thread.currentThread().setContextClassLoader(repl.classLoader());
      assertThat(repl.interpret("val spark = org.apache.spark.sql.SparkSession.active"))
          .isEqualTo(Results.Success$.MODULE$);
      for (String cell : cells) {
        scala.Function0<Results.Result> interpret = () -> repl.interpret(cell);
        Results.Result result =
            scala.Console$.MODULE$.withOut(
                new java.io.OutputStream() {
                  @Override
                  public void write(int b) {
                    output.write(b);
                  }
                },
                interpret);
        assertThat(result).as(cell + "\n" + output).isEqualTo(Results.Success$.MODULE$);
      }
      return output.toString();
    } finally {
      Thread.currentThread().setContextClassLoader(before);
      repl.close();
      spark.stop();
    }
  }

  private static List<String> zeppelinCells(String name) throws IOException {
    JsonNode note = new ObjectMapper().readTree(NOTEBOOKS.resolve(name).toFile());
    List<String> cells = new ArrayList<>();
    for (JsonNode paragraph : note.get("paragraphs")) {
      String text = paragraph.get("text").asText();
      if (text.startsWith("%spark\n")) {
        cells.add(text.substring("%spark\n".length()).strip());
      }
    }
    return cells;
  }

  private static List<String> databricksCells(String name) throws IOException {
    String text =
        Files.readString(NOTEBOOKS.resolve(name), StandardCharsets.UTF_8)
            .replaceFirst("^// Databricks notebook source\n", "");
    List<String> cells = new ArrayList<>();
    for (String cell : text.split("\n// COMMAND ----------\n", -1)) {
      if (!cell.strip().startsWith("// MAGIC")) {
        cells.add(cell.strip());
      }
    }
    return cells;
  }
}

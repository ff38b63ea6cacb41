package org.sparkpeft.tests.support;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.sparkpeft.federated.cli.JobMain;

/** What a command prints with {@code --json}, run in this process. */
public final class Said {
  private Said() {}

  public static JsonNode json(String... command) throws IOException {
    String[] arguments = Arrays.copyOf(command, command.length + 1);
    arguments[command.length] = "--json";
    PrintStream usual = System.out;
    ByteArrayOutputStream said = new ByteArrayOutputStream();
    try (PrintStream caught = new PrintStream(said, true, StandardCharsets.UTF_8)) {
      System.setOut(caught);
      JobMain.main(arguments);
    } finally {
      System.setOut(usual);
    }
    return new ObjectMapper().readTree(said.toByteArray());
  }
}

package org.sparkpeft.federated.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** A wrong name in an option of the compiler would do nothing, and nobody would be told. */
class LauncherTest {
  private static final Path SCRIPT = Path.of("..", "bin", "spark-peft");

  @Test
  void theCompilersOptionsOfAMergeNameWhatIsThere() throws Exception {
    Matcher function =
        Pattern.compile("(?ms)^merge_options\\(\\) \\{.*?^}").matcher(Files.readString(SCRIPT));
    assertThat(function.find()).isTrue();
    List<String> options =
        said(List.of("bash", "-c", function.group() + "\nmerge_options")).lines().toList();
    List<String> classes =
        options.stream()
            .filter(option -> option.contains("dontinline,"))
            .map(option -> option.replaceFirst(".*dontinline,", "").replaceFirst("::\\*$", ""))
            .toList();
    assertThat(classes).hasSizeGreaterThan(5);
    for (String name : classes) {
      String exact = name.replaceFirst("\\*$", "");
      if (exact.endsWith(".")) {
        assertThat(getClass().getResource("/" + exact.replace('.', '/'))).as(name).isNotNull();
      } else {
        assertThatCode(() -> Class.forName(exact)).as(name).doesNotThrowAnyException();
      }
    }
    List<String> java = new ArrayList<>();
    java.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    java.addAll(options);
    java.add("-version");
    assertThat(said(java)).contains("version").doesNotContainIgnoringCase("warning");
  }

  private static String said(List<String> command) throws IOException, InterruptedException {
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor()).as(output).isZero();
    return output;
  }
}

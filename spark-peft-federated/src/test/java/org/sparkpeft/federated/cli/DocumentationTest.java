package org.sparkpeft.federated.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.engine.NativeLibraries;

/** What the README and the recipes' comments tell a reader to type is what the commands take. */
class DocumentationTest {
  private static final Path ROOT = Path.of("..");
  private static final Pattern WORD = Pattern.compile("'([^']*)'|\"([^\"]*)\"|(\\S+)");
  private static final Pattern PATH =
      Pattern.compile("`((?:conf|notebooks|bin)/[\\w./-]*|tests|spark-peft-\\w+)`");
  private static final Pattern CLASS = Pattern.compile("org\\.sparkpeft(?:\\.\\w+)*\\.[A-Z]\\w*");

  private static String readme() throws IOException {
    return Files.readString(ROOT.resolve("README.md"));
  }

  /** Command lines of a text, without {@code bin/spark-peft}. */
  private static List<List<String>> commands(String text) {
    List<List<String>> commands = new ArrayList<>();
    for (String line : text.lines().toList()) {
      Matcher command = Pattern.compile("^(?:#\\s+)?bin/spark-peft (.*)$").matcher(line);
      if (command.matches()) {
        // Comments behind a command are set off by at least two spaces.
        String typed = command.group(1).replaceFirst("\\s{2,}\\(.*$|\\s{2,}#.*$", "");
        List<String> words = new ArrayList<>();
        for (Matcher word = WORD.matcher(typed); word.find(); ) {
          words.add(
              word.group(1) != null
                  ? word.group(1)
                  : word.group(2) != null ? word.group(2) : word.group(3));
        }
        commands.add(words);
      }
    }
    return commands;
  }

  @Test
  void everyCommandParses() throws IOException {
    List<List<String>> commands = new ArrayList<>(commands(readme()));
    try (var recipes = Files.newDirectoryStream(ROOT.resolve("conf"), "*.yaml")) {
      for (Path recipe : recipes) {
        commands.addAll(commands(Files.readString(recipe)));
      }
    }
    assertThat(commands).hasSizeGreaterThan(8);
    for (List<String> command : commands) {
      assertThatCode(
              () ->
                  new SparkPeft(new FakeActions())
                      .commandLine()
                      .parseArgs(command.toArray(String[]::new)))
          .as("bin/spark-peft %s", String.join(" ", command))
          .doesNotThrowAnyException();
    }
  }

  @Test
  void everyFileAndClassIsThere() throws IOException {
    Matcher path = PATH.matcher(readme());
    int paths = 0;
    while (path.find()) {
      assertThat(ROOT.resolve(path.group(1))).exists();
      paths++;
    }
    assertThat(paths).isGreaterThan(5);
    Matcher name = CLASS.matcher(readme());
    int classes = 0;
    while (name.find()) {
      String found = name.group();
      assertThatCode(() -> Class.forName(found)).as(found).doesNotThrowAnyException();
      classes++;
    }
    assertThat(classes).isGreaterThan(1);
  }

  /** The settings for GPUs are those of the example file, and its libraries those of this DJL. */
  @Test
  void theRecipeForGpusHolds() throws IOException {
    String example = Files.readString(ROOT.resolve("conf/spark-defaults.conf"));
    Matcher given = Pattern.compile("--conf (spark[\\w.]+)=(\\S+)").matcher(readme());
    int settings = 0;
    while (given.find()) {
      // A path is not the same everywhere; its last part is.
      String value = given.group(2).replaceAll("^.*/|\"", "");
      assertThat(example)
          .containsPattern("(?m)^#" + Pattern.quote(given.group(1)) + " +(/\\S*/)?" + value + "$");
      settings++;
    }
    assertThat(settings).isEqualTo(5);
    String all = readme() + example;
    for (String flavor : found("\\bPYTORCH_FLAVOR\\W+(cu\\d+)", all)) {
      assertThat(getClass().getClassLoader())
          .matches(
              jars ->
                  jars.getResource("jnilib/linux-x86_64/" + flavor + "/libdjl_torch.so") != null,
              "DJL has " + flavor);
    }
    for (String version : found("libtorch (\\d+\\.\\d+\\.\\d+)", all)) {
      assertThat(NativeLibraries.expectedVersion()).startsWith(version);
    }
    assertThat(readme()).contains("mvn -Pgpu ");
    assertThat(Files.readString(ROOT.resolve("spark-peft-federated/pom.xml")))
        .contains("<id>gpu</id>");
  }

  private static List<String> found(String pattern, String text) {
    List<String> found =
        Pattern.compile(pattern).matcher(text).results().map(match -> match.group(1)).toList();
    assertThat(found).as(pattern).hasSizeGreaterThan(1);
    return found;
  }
}

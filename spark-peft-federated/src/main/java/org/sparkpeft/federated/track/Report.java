package org.sparkpeft.federated.track;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.AtomicFiles;
import org.sparkpeft.federated.round.RunEvent.RunStarted;

/**
 * The report of a run: one HTML file that needs no other file, no network and no script, for
 * screens from a phone up, light or dark. The same events and configuration give the same bytes on
 * the same Java installation (charts measure its fonts).
 */
public final class Report {
  public static final String FILE_NAME = "report.html";

  /** The configuration as the user wrote it, shown as it is. */
  static final String CONFIG_FILE_NAME = "config.yaml";

  private static final int MAX_CONFIG_BYTES = 1 << 20;

  /** Nothing may be loaded or run, whatever the data hold. */
  private static final String CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'";

  private static final DateTimeFormatter TIME =
      DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm 'UTC'", Locale.ROOT).withZone(ZoneOffset.UTC);

  private final RunView run;
  private final RunStarted started;
  private final EventHistory history;

  private Report(EventHistory history, RunStarted started, RunView run) {
    this.history = history;
    this.started = started;
    this.run = run;
  }

  /**
   * Writes {@value #FILE_NAME} into a run directory from its {@value EventLog#FILE_NAME} and {@code
   * config.yaml}, if there is one. Works while the run goes on, too.
   *
   * @return the file written
   * @throws DataException if there is no event log, or no run in it
   * @throws FormatException if the event log is malformed
   * @throws UncheckedIOException if a file cannot be read or written
   */
  public static Path write(Path runDirectory) {
    Path log = runDirectory.resolve(EventLog.FILE_NAME);
    EventHistory history = EventLog.read(log);
    RunView run = RunView.of(history.events());
    RunStarted started =
        run.started()
            .orElseThrow(
                () ->
                    new DataException(
                        "the event log " + log + " holds no run; was the run stopped early?"));
    String html =
        new Report(history, started, run).render(config(runDirectory.resolve(CONFIG_FILE_NAME)));
    Path file = runDirectory.resolve(FILE_NAME);
    AtomicFiles.write(file, html.getBytes(StandardCharsets.UTF_8));
    return file;
  }

  private static Optional<String> config(Path file) {
    if (!Files.isRegularFile(file)) {
      return Optional.empty();
    }
    try (InputStream in = Files.newInputStream(file)) {
      byte[] bytes = in.readNBytes(MAX_CONFIG_BYTES);
      return Optional.of(new String(bytes, StandardCharsets.UTF_8));
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + file, e);
    }
  }

  private String render(Optional<String> config) {
    if (System.getProperty("java.awt.headless") == null) {
      // Charts need fonts, not a screen; without this, a desktop session opens a window system.
      System.setProperty("java.awt.headless", "true");
    }
    Html html = new Html();
    html.open("html", "lang", "en").open("head").empty("meta", "charset", "utf-8");
    html.empty("meta", "http-equiv", "Content-Security-Policy", "content", CONTENT_POLICY);
    html.empty("meta", "name", "viewport", "content", "width=device-width, initial-scale=1");
    html.element("title", started.name() + " – spark-peft").style(styleSheet()).close();
    html.open("body");
    writeHeader(html);
    html.open("main");
    new Tiles(run, started, html).write();
    writeSections(html);
    writeConfiguration(html, config);
    html.close();
    html.element("footer", "Written by spark-peft from " + EventLog.FILE_NAME + ".");
    return html.close().close().finish();
  }

  private void writeSections(Html html) {
    RoundSections rounds = new RoundSections(run);
    ClientSections clients = new ClientSections(run);
    if (!run.rounds().isEmpty()) {
      rounds.writeLearning(html);
    }
    html.open("section").element("h2", "Clients").open("div", "class", "pair");
    clients.writeSpread(html);
    LabelSkew.of(started).write(html);
    html.close();
    clients.writeTable(html);
    html.close();
    clients.writeFailures(html);
    if (!run.rounds().isEmpty()) {
      rounds.writeTraffic(html);
      new TimeSection(run).write(html);
      html.open("section").element("h2", "Rounds");
      rounds.writeTable(html);
      html.close();
    }
  }

  private void writeHeader(Html html) {
    html.open("header").open("div").element("h1", started.name());
    html.element("p", subtitle()).close();
    boolean done = run.finished();
    html.element("p", done ? "complete" : "not finished", "class", done ? "state" : "state open");
    html.close();
  }

  private String subtitle() {
    int done = run.rounds().size();
    String rounds =
        done == started.rounds()
            ? Text.count(done, "round")
            : Text.count(done) + " of " + Text.count(started.rounds(), "round");
    List<Instant> times = history.times();
    return "Federated fine-tuning · "
        + rounds
        + " · "
        + Text.count(started.clientLabelCounts().size(), "client")
        + " · seed "
        + started.seed()
        + (started.resumedFrom() > 0 ? " · resumed after round " + started.resumedFrom() : "")
        + " · "
        + TIME.format(times.get(times.size() - 1));
  }

  private void writeConfiguration(Html html, Optional<String> config) {
    html.open("section").element("h2", "Configuration");
    if (config.isPresent()) {
      html.open("details", "class", "card").element("summary", CONFIG_FILE_NAME);
      html.open("div", "class", "scroll", "tabindex", "0").element("pre", config.get());
      html.close().close();
    }
    html.open("details", "class", "card").element("summary", "Versions");
    Table versions = new Table("Part", "Version").ofWords();
    started.versions().forEach((part, version) -> versions.row(part, version));
    versions.write(html);
    if (history.unknownEvents() > 0) {
      html.element(
          "p",
          Text.count(history.unknownEvents(), "event")
              + " of a newer version of spark-peft could not be read and are not in this report.",
          "class",
          "note");
    }
    html.close().close();
  }

  private static String styleSheet() {
    try (InputStream in = Report.class.getResourceAsStream("report.css")) {
      if (in == null) {
        throw new IllegalStateException("report.css is missing from the jar; build it again");
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read report.css", e);
    }
  }
}

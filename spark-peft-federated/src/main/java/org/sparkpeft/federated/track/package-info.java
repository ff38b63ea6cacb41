/**
 * What is kept of a run and how it is shown: the event log, the summary with its console table, and
 * the HTML report. Everything here is a function of the run's events, so a report can be written
 * again, or while the run still goes on, from {@code events.jsonl} alone.
 */
@NullMarked
package org.sparkpeft.federated.track;

import org.jspecify.annotations.NullMarked;

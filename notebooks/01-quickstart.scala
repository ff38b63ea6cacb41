// Databricks notebook source
// MAGIC %md
// MAGIC # Federated LoRA in a notebook
// MAGIC
// MAGIC Twelve organisations label their customers' requests; none may show its rows to the others. Each trains a LoRA adapter for a small frozen
// MAGIC sentence encoder where its rows are, and sends what changed as a compressed update. This notebook does that with a Spark ML estimator,
// MAGIC scores the result with MLlib's evaluator, and saves a stage whose adapter Hugging Face PEFT can load.
// MAGIC
// MAGIC It needs the spark-peft jars on the cluster's class path and, on Databricks, compute with dedicated access.

// COMMAND ----------

import org.apache.spark.ml.{Pipeline, PipelineModel, PipelineStage}
import org.apache.spark.ml.evaluation.MulticlassClassificationEvaluator
import org.apache.spark.ml.feature.StringIndexer
import org.apache.spark.sql.functions.{avg, col, count, lit, round}
import org.sparkpeft.federated.client.DataReader
import org.sparkpeft.federated.ml.PeftTextClassifier

// Any DataFrame with a text, a label and, if there are natural clients, a client column will do.
val reader = new DataReader(spark)
val train = reader.read("bundled:support-requests/train.jsonl", "json", java.util.Map.of())
val test = reader.read("bundled:support-requests/test.jsonl", "json", java.util.Map.of())
train.groupBy("client_id").agg(count(lit(1)).as("requests")).orderBy("client_id").show(false)

// COMMAND ----------

// MAGIC %md
// MAGIC ## Train
// MAGIC
// MAGIC The indexer turns label names into class indices, as every MLlib classifier wants them. With `clientCol` each value is one client; without
// MAGIC it the rows would be dealt out to `numClients` clients at random. `density` is the fraction of each update that is sent, both ways.

// COMMAND ----------

val indexer = new StringIndexer().setInputCol("label").setOutputCol("labelIndex").setStringOrderType("alphabetAsc")
val classifier = new PeftTextClassifier()
  .setLabelCol("labelIndex")
  .setClientCol("client_id")
  .setR(8)
  .setNumRounds(4)
  .setLearningRate(3e-3)
  .setDensity(0.1)
  .setSeed(7)
val fitted = new Pipeline().setStages(Array[PipelineStage](indexer, classifier)).fit(train)

// COMMAND ----------

// MAGIC %md
// MAGIC ## Score
// MAGIC
// MAGIC `rawPrediction`, `probability` and `prediction` are what MLlib's evaluators read.

// COMMAND ----------

val scored = fitted.transform(test)
val accuracy = new MulticlassClassificationEvaluator()
  .setLabelCol("labelIndex")
  .setMetricName("accuracy")
  .evaluate(scored)
println(f"accuracy on the test requests: $accuracy%.3f")
scored
  .groupBy("client_id")
  .agg(round(avg((col("prediction") === col("labelIndex")).cast("double")), 3).as("accuracy"), count(lit(1)).as("requests"))
  .orderBy("client_id")
  .show(false)

// COMMAND ----------

// MAGIC %md
// MAGIC ## Save and load
// MAGIC
// MAGIC The saved stage holds an untouched Hugging Face PEFT folder under `stages/1_*/adapter`; the base model stays a reference. Loading gives the
// MAGIC same numbers to the bit.

// COMMAND ----------

val folder = java.nio.file.Files.createTempDirectory("spark-peft-notebook").resolve("pipeline").toString
fitted.write.overwrite().save(folder)
val loaded = PipelineModel.load(folder)
val same = loaded.transform(test).select("rawPrediction").collect().sameElements(scored.select("rawPrediction").collect())
println(s"same predictions after loading: $same")

import Data
import Deployment
import Formats
import Synchronization

/// Answers `/v1/classify`: texts, one request after the other.
final class Classifier: @unchecked Sendable {
  // @unchecked: model and predictor are used by who holds the mutex.

  private let loaded: LoadedModel
  private let predictor: Predictor
  private let turn = Mutex(())
  let counters = ServerCounters()
  private static let most = 1024

  init(_ loaded: LoadedModel) throws {
    self.loaded = loaded
    predictor = try Predictor(loaded)
  }

  /// `input`, a text or a list of texts, to `data` with what `predict` says of each.
  ///
  /// - Parameters:
  ///   - adapter: the one that answers
  ///   - name: of the model, as the request has it
  func answer(_ reader: RequestReader, adapter: String?, name: String) throws(APIError) -> JSONValue {
    guard let texts = try reader.texts("input", most: Self.most), !texts.isEmpty else {
      throw APIError("input is missing: a text, or a list of texts")
    }
    let rows = texts.enumerated().map { LabelledRow(.text($1, pair: nil), file: "input", line: $0 + 1) }
    let found: Result<[JSONValue], any Error> = turn.withLock { _ in
      loaded.select(adapter)
      return Result {
        _ = try loaded.labelling()
        return try predictor.predict(rows).map { predictor.json($0) }
      }
    }
    counters.add(requests: 1)
    switch found {
    case .success(let answers):
      let data = answers.enumerated().map { index, answer -> JSONValue in
        var object = JSONObject([("index", .integer(index))])
        for (key, value) in answer.objectValue?.entries ?? [] { object[key] = value }
        return .object(object)
      }
      return .object(
        JSONObject([("object", .string("list")), ("model", .string(name)), ("data", .array(data))]))
    case .failure(DataError.badLine(_, let line, _)):
      throw APIError("input: there is no token in text \(line - 1), and this model puts none before a text")
    case .failure(let error): throw APIError("\(error)")
    }
  }
}

import Architectures
import Formats
import Foundation
import Testing

struct TensorDescriptionTests {
  /// Folders of tiny models that transformers wrote.
  static let variants = ((try? FileManager.default.contentsOfDirectory(atPath: models)) ?? [])
    .filter { FileManager.default.fileExists(atPath: "\(models)/\($0)/config.json") }.sorted()

  @Test func thereAreModelsOfEveryFamily() throws {
    let families = try Self.variants.map { try ModelDescription.load(directory: "\(models)/\($0)").family }
    #expect(Set(families) == Set(Family.allCases))
  }

  /// A description lists what transformers saves, no more and no less, in the shapes that it has there.
  @Test(arguments: variants) func theListOfTensorsIsThatOfTheFile(variant: String) throws {
    let description = try ModelDescription.load(directory: "\(models)/\(variant)")
    let file = try SafetensorsFile(path: "\(models)/\(variant)/model.safetensors")
    let names = TensorNames(of: description, in: file.tensorNames)
    #expect(
      Set(description.tensors.map { names.stored($0.name) })
        == Set(file.tensorNames.filter { name in !ignored.contains { name.hasSuffix($0) } }))
    for tensor in description.tensors {
      #expect(file.tensor(names.stored(tensor.name))?.shape == tensor.fileShape, "\(tensor.name)")
    }
    try names.checkParts(of: description, in: file.tensorNames, file: variant)
    #expect(Set(description.tensors.map(\.name)).count == description.tensors.count)
  }

  private let ignored = [".attn.bias", ".attn.masked_bias", ".attention.bias", ".rotary_emb.inv_freq"]

  /// The place of a row in GGUF against numpy's reshaping of the numbers of rows.
  @Test func orderedRowsAreThoseOfLlamaCppsConversion() throws {
    let cases = try #require(try JSONValue.parse(contentsOf: "\(golden)/row-orders.json").arrayValue)
    #expect(cases.count == 8)
    for expected in cases {
      let heads = try #require(expected["heads"]?.intValue)
      let order: RowOrder =
        expected["order"]?.stringValue == "byProjection"
        ? .byProjection(heads: heads) : .alternatingHalves(heads: heads)
      let rows = try #require(expected["rows"]?.integers)
      let places = rows.indices.map { order.place(ofRow: $0, of: rows.count) }
      #expect(places.sorted() == Array(rows.indices), "\(order): a permutation")
      // GGUF's row `place` is Hugging Face's row `rows[place]`.
      #expect(places.indices.allSatisfy { rows[places[$0]] == $0 }, "\(order)")
    }
    #expect((0..<7).allSatisfy { RowOrder.same.place(ofRow: $0, of: 7) == $0 })
  }
}

import Architectures
import Formats
import FoundationEssentials
import Kernels
import Quantization
import Tokenization
import Transformer

/// What cannot be exported, or was not written as it should.
public struct ExportError: Error, CustomStringConvertible {
  public let description: String
  public init(description: String) { self.description = description }
}

/// Writes a model, with or without an adapter added, as a GGUF file for llama.cpp: weights in float, quantised once.
public struct ModelExporter {
  private let pool: ThreadPool
  /// Floats that are in memory at a time.
  private static let chunkElements = 1 << 20

  public init(pool: ThreadPool) { self.pool = pool }

  /// What an export tells.
  public struct Report: Sendable {
    public let byteCount: Int
    public let tensorCount: Int
    /// How llama.cpp differs.
    public let remarks: [String]
    /// Texts that end an answer.
    public let stops: [String]
  }

  /// - Parameters:
  ///   - directory: store or model folder
  ///   - adapter: PEFT folder
  ///   - output: the file; it appears complete and read back, or not at all
  ///   - progress: weights done and in all; what it throws ends the run
  public func export(
    modelDirectory directory: String, adapter: String?, to output: String, format: ExportFormat, force: Bool,
    progress: (_ done: Int, _ all: Int) throws -> Void
  ) throws -> Report {
    let store = try LoadedModel.open(directory, adapter: adapter)
    guard store.description.labelling == nil else {
      throw ExportError(
        description: "\(adapter ?? directory): says labels, which a GGUF model cannot; "
          + "`edge-lora merge --format f16` makes a folder for transformers")
    }
    let model = try LanguageModel(store: store)
    let sum = try adapter.map { try AdapterSum(adapter: $0, of: model) }
    let opened = try ModelSource.open(store: store)
    let source = try sum?.withHead(opened) ?? opened
    let description = source.description
    let header = try GGUFHeader(of: description, json: source.configurationJSON, file: "\(directory)/config.json")
    let plan = try plan(description, header: header, format: format)
    let tokenizer = try TokenizerToGGUF.read(directory: directory, vocabularySize: description.vocabularySize)
    let name = URL(fileURLWithPath: adapter ?? directory).standardizedFileURL.lastPathComponent
    let general: [(key: String, value: GGUFField)] = [
      ("general.architecture", .string(header.architecture)), ("general.type", .string("model")),
      ("general.name", .string(name)), ("general.size_label", .string(Self.sizeLabel(description))),
      ("general.file_type", .uint32(format.fileType)), ("general.quantization_version", .uint32(2)),
    ]
    let target = try AtomicOutput(path: output, force: force, inputs: [directory] + (adapter.map { [$0] } ?? []))
    try target.requireFile(kind: "GGUF", GGUFFile.isGGUF)
    let writer = try GGUFWriter(
      path: target.temporaryPath, metadata: general + header.metadata + tokenizer.metadata,
      tensors: plan.map(\.declaration))
    let all = plan.reduce(0) { $0 + $1.declaration.shape.reduce(1, *) }
    var done = 0
    var samples: [(tensor: String, row: Int, values: [Float])] = []
    for entry in plan {
      switch entry.content {
      case .values(let values):
        var scratch: [UInt8] = []
        try values.withUnsafeBufferPointer { try writer.append(rows: $0, scratch: &scratch) }
        done += values.count
      case .weight(let wanted, let place):
        let stored = try source.tensor(wanted)
        let tensor = sum?.apply(to: stored) ?? stored
        try write(tensor, at: place, type: entry.declaration.type, to: writer) { row, values in
          samples.append((entry.declaration.name, row, values))
        } progress: { count in
          done += count
          try progress(done, all)
        }
      }
    }
    try writer.finish()
    try check(target.temporaryPath, samples: samples, tensorCount: plan.count, family: description.family)
    let byteCount = try MappedFile(path: target.temporaryPath).byteCount
    try target.commit()
    return Report(byteCount: byteCount, tensorCount: plan.count, remarks: header.remarks, stops: tokenizer.stops)
  }

  // MARK: what is written

  private struct Entry {
    enum Content {
      case values([Float])
      case weight(TensorDescription, TensorDescription.GGUFPlace)
    }

    let declaration: GGUFWriter.Declaration
    let content: Content
  }

  private func plan(_ model: ModelDescription, header: GGUFHeader, format: ExportFormat) throws -> [Entry] {
    var entries = header.extras.map {
      Entry(declaration: .init(name: $0.name, type: .f32, shape: [$0.values.count]), content: .values($0.values))
    }
    var weights: [(tensor: TensorDescription, place: TensorDescription.GGUFPlace)] = []
    for tensor in model.tensors {
      guard let place = tensor.gguf else {
        throw ExportError(description: "tensor \(tensor.name) has no place in GGUF; merge to a folder instead")
      }
      weights.append((tensor, place))
    }
    if header.repeatsEmbedding { weights.append((model.embedding.tokens, .init(ExportMixture.headName))) }
    let mixture = ExportMixture(format, of: model, tensorNames: weights.map(\.place.name))
    entries += weights.map { tensor, place in
      Entry(
        declaration: .init(name: place.name, type: mixture.type(of: tensor, at: place.name), shape: tensor.shape),
        content: .weight(tensor, place))
    }
    return entries
  }

  /// Such as 135M: the weights, those counted once that are used twice.
  private static func sizeLabel(_ model: ModelDescription) -> String {
    let count = Double(model.tensors.reduce(0) { $0 + $1.shape.reduce(1, *) })
    let (unit, suffix) = count > 1e12 ? (1e12, "T") : count > 1e9 ? (1e9, "B") : count > 1e6 ? (1e6, "M") : (1e3, "K")
    let scaled = count / unit
    // Two digits at least.
    if scaled.rounded(.toNearestOrEven) >= 10 { return "\(Int(scaled.rounded(.toNearestOrEven)))\(suffix)" }
    return "\((scaled * 10).rounded(.toNearestOrEven) / 10)\(suffix)"
  }

  // MARK: writing

  private func write(
    _ tensor: SourceTensor, at place: TensorDescription.GGUFPlace, type: GGMLType, to writer: GGUFWriter,
    sample: (Int, [Float]) -> Void, progress: (Int) throws -> Void
  ) throws {
    let columns = tensor.columns
    if tensor.shape.count == 1 {
      var values = [Float](repeating: 0, count: columns)
      values.withUnsafeMutableBufferPointer { tensor.fill(0..<1, $0) }
      if let order = place.rows.sources(of: columns) { values = order.map { values[$0] } }
      if place.excess != 0 { for index in values.indices { values[index] += place.excess } }
      try refuseInfinite(values.firstIndex { !$0.isFinite } == nil, tensor)
      var scratch: [UInt8] = []
      try values.withUnsafeBufferPointer { try writer.append(rows: $0, scratch: &scratch) }
      sample(0, values)
      return try progress(columns)
    }
    let order = place.rows.sources(of: tensor.rows)
    let chunk = max(16, Self.chunkElements / columns / 16 * 16)
    let rowBytes = type.byteCount(elements: columns)
    var values = [Float](repeating: 0, count: min(chunk, tensor.rows) * columns)
    var bytes = [UInt8](repeating: 0, count: min(chunk, tensor.rows) * rowBytes)
    let tile = 16
    for start in stride(from: 0, to: tensor.rows, by: chunk) {
      let range = start..<min(start + chunk, tensor.rows)
      var isFinite = [Bool](repeating: true, count: (range.count + tile - 1) / tile)
      values.withUnsafeMutableBufferPointer { values in
        bytes.withUnsafeMutableBytes { bytes in
          isFinite.withUnsafeMutableBufferPointer { isFinite in
            let (values, bytes, isFinite) = (Shared(values), Shared(bytes), Shared(isFinite))
            pool.run(isFinite.buffer.count) { task, _ in
              let rows = task * tile..<min((task + 1) * tile, range.count)
              let part = UnsafeMutableBufferPointer(
                rebasing: values.buffer[rows.lowerBound * columns..<rows.upperBound * columns])
              if let order {
                for row in rows {
                  let source = order[range.lowerBound + row]
                  let line = (row - rows.lowerBound) * columns..<(row - rows.lowerBound + 1) * columns
                  tensor.fill(source..<source + 1, UnsafeMutableBufferPointer(rebasing: part[line]))
                }
              } else {
                tensor.fill(range.lowerBound + rows.lowerBound..<range.lowerBound + rows.upperBound, part)
              }
              isFinite.buffer[task] = part.allSatisfy(\.isFinite)
              guard isFinite.buffer[task] else { return }
              type.encode(
                UnsafeBufferPointer(part),
                into: UnsafeMutableRawBufferPointer(
                  rebasing: bytes.buffer[rows.lowerBound * rowBytes..<rows.upperBound * rowBytes]))
            }
          }
        }
      }
      try refuseInfinite(isFinite.allSatisfy { $0 }, tensor)
      try bytes.withUnsafeBytes { try writer.append(UnsafeRawBufferPointer(rebasing: $0[0..<range.count * rowBytes])) }
      if start == 0 { sample(0, Array(values[0..<columns])) }
      if range.upperBound == tensor.rows {
        sample(tensor.rows - 1, Array(values[(range.count - 1) * columns..<range.count * columns]))
      }
      tensor.release()
      try progress(range.count * columns)
    }
  }

  private func refuseInfinite(_ holds: Bool, _ tensor: SourceTensor) throws {
    guard holds else {
      throw ExportError(
        description: "tensor \(tensor.name) holds a value that is not finite; model or adapter is damaged")
    }
  }

  // MARK: reading back

  /// Opens what was written as any reader would, and compares first and last rows of every tensor.
  private func check(
    _ path: String, samples: [(tensor: String, row: Int, values: [Float])], tensorCount: Int, family: Family
  ) throws {
    func failure(_ reason: String) -> ExportError {
      ExportError(description: "\(path): read back, \(reason); nothing was kept, the disk or memory may be failing")
    }
    let file = try GGUFFile(path: path)
    guard file.tensors.count == tensorCount else {
      throw failure("it holds \(file.tensors.count) of \(tensorCount) tensors")
    }
    let json = try GGUFConfiguration.configurationJSON(file)
    let description = try ModelDescription(json: json, file: path)
    guard family == .mistral || description.family == family else {
      throw failure("it is a \(description.family.architecture)")
    }
    for (name, row, values) in samples {
      guard let tensor = file.tensor(name), row < tensor.rows, tensor.columns == values.count else {
        throw failure("tensor \(name) is not as written")
      }
      var found = [Float](repeating: 0, count: values.count)
      found.withUnsafeMutableBufferPointer { file.dequantize(tensor, rows: row..<row + 1, into: $0) }
      var (error, squares) = (0.0, 0.0)
      for (a, b) in zip(found, values) {
        error += Double(a - b) * Double(a - b)
        squares += Double(b) * Double(b)
      }
      // Relative errors of rows; half precision loses more of numbers below 6e-5.
      let limit: Double =
        switch tensor.type {
        case .f32: 0
        case .f16: 1e-2
        case .q80, .q6K: 0.1
        default: 0.7
        }
      guard error.squareRoot() <= limit * squares.squareRoot() + 1e-7 * Double(values.count).squareRoot() else {
        throw failure("row \(row) of tensor \(name) is off by \(Float((error / max(squares, 1e-30)).squareRoot()))")
      }
    }
  }
}

/// A buffer that tasks fill, each its own part.
private struct Shared<Buffer>: @unchecked Sendable {
  let buffer: Buffer
  init(_ buffer: Buffer) { self.buffer = buffer }
}

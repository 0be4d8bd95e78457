import Architectures
import Dispatch
import Formats
import FoundationEssentials
import Kernels
import Options
import Training
import Transformer
import WeightStore

/// `bench kernels`: the frozen products of real models next to what the processor can do at most.
enum KernelBench {
  static let options: [OptionDeclaration] = [
    .init("model", "NAME", default: "smollm2-135m", "shapes to measure: a name, all, or the path of a config.json"),
    .init("tokens", "LIST", default: "1,32,128,512,1024", "rows of the products"),
    .init("format", "LIST", default: "f16,int8,int4,nf4", "how the weights are stored"),
    .init("attention", "LIST", default: "1024,4096", "lengths of the samples that attention is measured with"),
    .init("repetitions", "N", default: "5", "measurements of each, of which the median counts"),
    .init("threads", "N", "worker threads (default: one per processor)"),
    .init("json", nil, "print JSON"),
  ]

  /// The linear layers of a model.
  private struct Shape {
    let name: String
    let heads: AttentionShape
    let hidden: Int
    let intermediate: Int
    let keyValue: Int

    /// Inputs and outputs of the different layers.
    var layers: [(inputs: Int, outputs: Int)] {
      var result = [(hidden, hidden)]
      if keyValue != hidden { result.append((hidden, keyValue)) }
      return result + [(hidden, intermediate), (intermediate, hidden)]
    }
  }

  private static let shapes = [
    Shape(name: "smollm2-135m", heads: heads(9, 3, 64), hidden: 576, intermediate: 1536, keyValue: 192),
    Shape(name: "qwen2.5-0.5b", heads: heads(14, 2, 64), hidden: 896, intermediate: 4864, keyValue: 128),
    Shape(name: "tinyllama-1.1b", heads: heads(32, 4, 64), hidden: 2048, intermediate: 5632, keyValue: 256),
    Shape(name: "llama-2-7b", heads: heads(32, 32, 128), hidden: 4096, intermediate: 11008, keyValue: 4096),
  ]
  private static func heads(_ count: Int, _ keyValueCount: Int, _ size: Int) -> AttentionShape {
    AttentionShape(headCount: count, keyValueHeadCount: keyValueCount, headSize: size)
  }
  private static let formats = ["f16", "int8", "int4", "nf4"]

  /// Speeds of this machine, in operations or bytes per second.
  private struct Ceilings {
    let int8: Double
    let fp32: Double
    let reading: Double

    init(pool: ThreadPool, memory: Buffer, repetitions: Int) {
      var int8: [Double] = []
      var fp32: [Double] = []
      var reading: [Double] = []
      for _ in 0..<repetitions {
        int8.append(MachineCeiling.int8(pool: pool, seconds: 0.01))
        fp32.append(MachineCeiling.fp32(pool: pool, seconds: 0.01))
        reading.append(
          MachineCeiling.reading(UnsafeRawBufferPointer(start: memory.base, count: memory.byteCount), pool: pool))
      }
      // what disturbs a measurement only makes it slower
      self.int8 = int8.max() ?? 0
      self.fp32 = fp32.max() ?? 0
      self.reading = reading.max() ?? 0
    }

    var json: JSONValue {
      .object(
        JSONObject([
          ("int8_gops", .number(int8 * 1e-9)), ("fp32_gflops", .number(fp32 * 1e-9)),
          ("read_gb_per_s", .number(reading * 1e-9)),
        ]))
    }

    var line: String {
      "int8 \(Console.decimal(int8 * 1e-9, 1)) GOP/s, fp32 \(Console.decimal(fp32 * 1e-9, 1)) GFLOP/s, "
        + "reading \(Console.decimal(reading * 1e-9, 1)) GB/s"
    }
  }

  /// Speeds of one product, in operations per second.
  private struct Result {
    let model: String
    let inputs: Int
    let outputs: Int
    let format: String
    let tokens: Int
    let ceiling: Double
    let forward: Double
    let gradient: Double
    let product: Double

    func fraction(_ speed: Double) -> Double { ceiling > 0 ? speed / ceiling : 0 }

    var json: JSONValue {
      .object(
        JSONObject([
          ("model", .string(model)), ("in", .integer(inputs)), ("out", .integer(outputs)), ("format", .string(format)),
          ("tokens", .integer(tokens)), ("ceiling_gops", .number(ceiling * 1e-9)),
          ("forward_gops", .number(forward * 1e-9)), ("forward_fraction", .number(fraction(forward))),
          ("gradient_gops", .number(gradient * 1e-9)), ("gradient_fraction", .number(fraction(gradient))),
          ("product_gops", .number(product * 1e-9)), ("product_fraction", .number(fraction(product))),
        ]))
    }
  }

  static func run(_ arguments: Arguments) throws -> Int32 {
    let chosen = try shapes(try arguments.required("model"))
    let tokens = try list(try arguments.required("tokens")) { text in
      Int(text).flatMap { (1...65_536).contains($0) ? $0 : nil }
    }
    let lengths = try list(try arguments.required("attention")) { text in
      Int(text).flatMap { (1...65_536).contains($0) ? $0 : nil }
    }
    let formats = try list(try arguments.required("format")) { text in
      Self.formats.contains(text) ? text : nil
    }
    let repetitions = try arguments.number("repetitions", in: 1...1000)
    let pool = ThreadPool(threadCount: try arguments.threads())
    let memory = Buffer(128 << 20, filled: true)
    let one = Ceilings(pool: ThreadPool(threadCount: 1), memory: memory, repetitions: repetitions)
    let all = Ceilings(pool: pool, memory: memory, repetitions: repetitions)
    let asJSON = arguments.flag("json")
    if !asJSON {
      Console.print("instruction set \(InstructionSet.current.name), \(pool.threadCount) threads")
      Console.print("ceiling, 1 thread:  \(one.line)")
      Console.print("ceiling, \(pool.threadCount) threads: \(all.line)")
      Console.print(
        "GOP/s (a multiply-add is two) and share of the int8 ceiling; product: operands already in 8 bits\n")
      Console.print(row(["model", "in", "out", "format", "tokens", "forward", "", "gradient", "", "product", ""]))
    }
    var results: [JSONValue] = []
    var ceiling = all.int8
    for shape in chosen {
      for layer in shape.layers {
        for format in formats {
          let weight = MadeUpWeight(format: format, rows: layer.outputs, columns: layer.inputs)
          defer { withExtendedLifetime(weight) {} }
          for count in tokens {
            let result = measure(
              weight.matrix, model: shape.name, format: format, tokens: count, ceiling: ceiling,
              repetitions: repetitions, pool: pool)
            ceiling = result.ceiling
            results.append(result.json)
            if !asJSON { print(result) }
          }
        }
      }
    }
    if !asJSON {
      Console.print("\nGFLOP/s of attention over a causal sample, and share of the fp32 ceiling\n")
      Console.print(attentionRow(["model", "tokens", "forward", "", "backward", "", "both", ""]))
    }
    var attention: [JSONValue] = []
    for shape in chosen {
      for length in lengths {
        let result = AttentionBench(shape: shape.heads, length: length, pool: pool).measure(
          model: shape.name, repetitions: repetitions)
        attention.append(result.json)
        if !asJSON { Console.print(attentionRow(result.cells)) }
      }
    }
    if asJSON {
      let object = JSONObject([
        ("instruction_set", .string(InstructionSet.current.name)), ("threads", .integer(pool.threadCount)),
        ("repetitions", .integer(repetitions)), ("one_thread", one.json), ("all_threads", all.json),
        ("kernels", .array(results)), ("attention", .array(attention)),
      ])
      Console.print(JSONValue.object(object).serialized(pretty: true))
    }
    return ExitCode.success
  }

  private static func shapes(_ name: String) throws -> [Shape] {
    if name == "all" { return shapes }
    if let shape = shapes.first(where: { $0.name == name }) { return [shape] }
    guard name.hasSuffix(".json") else {
      throw UsageError(
        description: "--model \(name): expected all, \(shapes.map(\.name).joined(separator: ", ")), or a config.json")
    }
    let model = try ModelDescription(json: try JSONValue.parse(contentsOf: name), file: name)
    return [
      Shape(
        name: URL(fileURLWithPath: name).deletingPathExtension().lastPathComponent,
        heads: heads(
          model.layers[0].attention.headCount, model.layers[0].attention.keyValueHeadCount,
          model.layers[0].attention.headSize), hidden: model.hiddenSize,
        intermediate: model.layers[0].feedForward.intermediateSize,
        keyValue: model.layers[0].attention.keyValueHeadCount * model.layers[0].attention.headSize)
    ]
  }

  private static func list<T>(_ text: String, _ convert: (String) -> T?) throws -> [T] {
    try text.split(separator: ",").map { part in
      guard let value = convert(String(part)) else {
        throw UsageError(description: "\(part) of \(text) is not possible")
      }
      return value
    }
  }

  /// The whole operations as training calls them, and the product alone. The ceiling is measured again in each
  /// repetition, because the clock of a processor changes; the best counts.
  private static func measure(
    _ weight: StoredMatrix, model: String, format: String, tokens: Int, ceiling: Double, repetitions: Int,
    pool: ThreadPool
  ) -> Result {
    let x = Buffer.floats(rows: tokens, columns: weight.columns)
    let dy = Buffer.floats(rows: tokens, columns: weight.rows)
    let y = Buffer.floats(rows: tokens, columns: weight.rows)
    let dx = Buffer.floats(rows: tokens, columns: weight.columns)
    let rowBytes = max(
      QuantizedRows.byteCount(
        rows: tokens, columns: weight.columns, block: weight.reductionBlock, as: ComputeEngine.input,
        threadCount: pool.threadCount),
      QuantizedRows.byteCount(
        rows: tokens, columns: weight.rows, block: weight.gradientBlock, as: .gradient,
        threadCount: pool.threadCount))
    let storage = Buffer(rowBytes)
    let scratchBytes = max(
      MatrixProduct.forwardScratchByteCount(weight, rows: tokens),
      MatrixProduct.gradientScratchByteCount(weight, rows: tokens))
    let buffers = (0..<pool.threadCount).map { _ in Buffer(scratchBytes) }
    let scratch = buffers.map(\.scratch)
    defer { withExtendedLifetime((x, dy, y, dx, storage, buffers)) {} }
    func quantized(_ matrix: Matrix, as role: QuantizedRows.Role, block: Int) -> QuantizedRows {
      QuantizedRows.quantize(
        matrix, as: role, block: block, rowsPerSequence: tokens, storage: storage.scratch, pool: pool)
    }
    func forward() {
      let rows = quantized(x.matrix, as: ComputeEngine.input, block: weight.reductionBlock)
      MatrixProduct.forward(rows, weight, into: y.matrix, accumulate: false, pool: pool, scratch: scratch)
    }
    func gradient() {
      let rows = quantized(dy.matrix, as: .gradient, block: weight.gradientBlock)
      MatrixProduct.inputGradient(rows, weight, into: dx.matrix, accumulate: false, pool: pool, scratch: scratch)
    }
    let operations = 2 * Double(tokens) * Double(weight.rows) * Double(weight.columns)
    var speeds: [[Double]] = [[], [], []]
    var ceiling = ceiling
    // short operations are repeated until the clock can see them
    let once = max(seconds(forward), 1e-6)
    let count = max(1, min(1000, Int(0.002 / once)))
    for repetition in 0...repetitions {
      ceiling = max(ceiling, MachineCeiling.int8(pool: pool, seconds: 0.004))
      let forwardTime = seconds { for _ in 0..<count { forward() } }
      let gradientTime = seconds { for _ in 0..<count { gradient() } }
      let rows = quantized(x.matrix, as: .input(exactColumns: 0), block: weight.reductionBlock)
      MatrixProduct.decodeForMeasurement(weight, scratch: scratch)
      let productTime = seconds {
        for _ in 0..<count { MatrixProduct.multiplyOnly(rows, weight, into: y.matrix, pool: pool, scratch: scratch) }
      }
      if repetition == 0 { continue }  // caches and pages are not warm yet
      for (index, time) in [forwardTime, gradientTime, productTime].enumerated() {
        speeds[index].append(operations * Double(count) / max(time, 1e-9))
      }
    }
    return Result(
      model: model, inputs: weight.columns, outputs: weight.rows, format: format, tokens: tokens,
      ceiling: ceiling, forward: median(speeds[0]), gradient: median(speeds[1]), product: median(speeds[2]))
  }

  private static func seconds(_ body: () -> Void) -> Double {
    let start = DispatchTime.now().uptimeNanoseconds
    body()
    return Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
  }

  private static func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    return sorted.isEmpty ? 0 : sorted[sorted.count / 2]
  }

  private static func print(_ result: Result) {
    var cells = [
      result.model, "\(result.inputs)", "\(result.outputs)", result.format, "\(result.tokens)",
    ]
    for speed in [result.forward, result.gradient, result.product] {
      cells += [Console.decimal(speed * 1e-9, 1), "\(Int((result.fraction(speed) * 100).rounded())) %"]
    }
    Console.print(row(cells))
  }

  private static let widths = [15, 6, 6, 7, 7, 9, 6, 9, 6, 9, 6]

  private static func row(_ cells: [String]) -> String { row(cells, widths) }

  private static func attentionRow(_ cells: [String]) -> String { row(cells, [15, 7, 9, 6, 9, 6, 9, 6]) }

  private static func row(_ cells: [String], _ widths: [Int]) -> String {
    zip(cells, widths).enumerated().map { index, cell in
      let space = String(repeating: " ", count: max(0, cell.1 - cell.0.count))
      return index == 0 ? cell.0 + space : space + cell.0
    }.joined()
  }
}

/// Aligned memory that lives as long as the object.
final class Buffer {
  let base: UnsafeMutableRawPointer
  let byteCount: Int
  private var rows = 0
  private var columns = 0

  /// - Parameter filled: with made-up bits; otherwise with zeros
  init(_ byteCount: Int, filled: Bool = false) {
    self.byteCount = max(64, (byteCount + 63) / 64 * 64)
    base = .allocate(byteCount: self.byteCount, alignment: 64)
    let words = base.bindMemory(to: UInt64.self, capacity: self.byteCount / 8)
    var state: UInt64 = 1
    for index in 0..<self.byteCount / 8 {
      state = filled ? state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407 : 0
      words[index] = state ^ state >> 32
    }
  }

  /// Made-up values in [-1, 1).
  static func floats(rows: Int, columns: Int) -> Buffer {
    let buffer = Buffer(rows * columns * 4)
    buffer.rows = rows
    buffer.columns = columns
    buffer.refill()
    return buffer
  }

  /// The made-up values once more.
  func refill() {
    let values = base.assumingMemoryBound(to: Float.self)
    var state: UInt32 = 1
    for index in 0..<rows * columns {
      state = state &* 1_664_525 &+ 1_013_904_223
      values[index] = Float(Int32(bitPattern: state) >> 8) * 0x1p-23
    }
  }

  deinit { base.deallocate() }

  var scratch: Scratch { Scratch(base, byteCount: byteCount) }
  var matrix: Matrix { Matrix(base.assumingMemoryBound(to: Float.self), rows: rows, columns: columns) }
}

/// A frozen matrix of made-up codes and scales.
private final class MadeUpWeight {
  let matrix: StoredMatrix
  private let parts: [Buffer]

  init(format: String, rows: Int, columns: Int) {
    let count = rows * columns
    let data = Buffer(format == "f16" ? count * 2 : format == "int8" ? count : count / 2, filled: true)
    let group = columns % 64 == 0 ? 64 : 32
    let scales = Buffer((count / 32 + 64) * 4)
    let floats = scales.base.assumingMemoryBound(to: Float.self)
    let halves = scales.base.assumingMemoryBound(to: UInt16.self)
    for index in 0..<(format == "int8" ? rows : (count + group - 1) / group) {
      if format == "int4" { halves[index] = UInt16(0x2000 + index % 0x400) } else { floats[index] = 0.02 }
    }
    let codebook = Buffer(64)
    let levels = codebook.base.assumingMemoryBound(to: Float.self)
    for index in 0..<16 { levels[index] = Float(index) / 7.5 - 1 }
    let codes: StoredMatrix.Codes
    switch format {
    case "f16":
      let values = data.base.assumingMemoryBound(to: UInt16.self)
      for index in 0..<count { values[index] &= 0xBBFF }  // no infinities
      codes = .f16(values)
    case "int8": codes = .int8(data.base.assumingMemoryBound(to: Int8.self), scales: .f32(floats))
    case "int4":
      codes = .int4(data.base.assumingMemoryBound(to: UInt32.self), scales: .f16(halves), groupSize: group)
    default:
      codes = .nf4(
        data.base.assumingMemoryBound(to: UInt8.self), absmax: .f32(floats), blockSize: 64, codebook: levels)
    }
    matrix = StoredMatrix(rows: rows, columns: columns, codes: codes)
    parts = [data, scales, codebook]
  }
}

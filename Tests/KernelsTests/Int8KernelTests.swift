import CKernels
import Foundation
import Kernels
import Testing

/// The tables that this machine runs; the first is the portable one, the specification.
private func kernelTables() -> [UnsafePointer<el_int8_kernels>] {
  var tables: [UnsafePointer<el_int8_kernels>] = []
  guard let names = el_int8_kernel_names() else { return tables }
  var index = 0
  while let name = names[index] {
    if let table = el_int8_kernels_named(name) { tables.append(table) }
    index += 1
  }
  return tables
}

/// One instruction set at work on made-up rows and weights.
private struct Bench {
  let kernels: UnsafePointer<el_int8_kernels>

  /// `rows` made-up rows of `count` values, quantised.
  func rows(
    _ rows: Int, count: Int, block: Int, limit: Int32 = EL_INPUT_LIMIT, dither: UInt32 = 0, zeroColumns: [Int32] = []
  ) -> (native: el_rows, memory: [Memory]) {
    let columns = (count + block - 1) / block * block
    let codes = Memory(kernels.pointee.row_code_bytes(rows, columns, block))
    let scales = Memory(rows * columns / block * 4)
    var native = el_rows(
      rows: rows, columns: columns, block: block, limit: limit, codes: codes.base, scales: scales.bind(Float.self))
    var generator = Generator()
    for row in 0..<rows {
      var values = (0..<count).map { _ in generator.next() * generator.next() }
      if row == 3 { values = values.map { _ in 0 } }
      for column in zeroColumns { values[Int(column)] = 0 }
      kernels.pointee.quantize_row(&native, row, 0, count, values, dither == 0 ? 0 : dither &+ UInt32(row) | 1)
    }
    return (native, [codes, scales])
  }

  func panel(reduction: Int, block: Int) -> (native: el_panel, memory: [Memory]) {
    let codes = Memory(kernels.pointee.panel_code_bytes(reduction))
    let scales = Memory(reduction / block * 32 * 4)
    return (el_panel(codes: codes.base, scales: scales.bind(Float.self)), [codes, scales])
  }

  /// All values of a panel, if it is one of weight rows, and the product of all rows with it. Row strides and neighbours of the output must survive.
  func product(
    _ x: inout el_rows, first: Int = 0, panel: inout el_panel, reduction: Int, columns: Int, accumulate: Bool
  ) -> [Float] {
    var result: [Float] = []
    var values = [Float](repeating: 0, count: 32)
    for p in 0..<(x.limit == EL_INPUT_LIMIT ? reduction : 0) {
      kernels.pointee.panel_values(&panel, p, x.block, &values)
      result += values
    }
    let stride = columns + 3
    for row in stride > 0 ? [0, 8] : [] where row < x.rows {
      var y = (0..<(x.rows - row) * stride).map { Float($0 % 13) / 8 }
      kernels.pointee.gemm(
        &x, row, x.rows - row, first, reduction, &panel, &y, stride, columns, accumulate ? 1 : 0)
      result += y
    }
    return result
  }
}

private func bits(_ values: [Float]) -> [UInt32] { values.map { $0.isNaN ? 0x7FC0_0000 : $0.bitPattern } }

/// The same for every instruction set, compared with the portable kernels.
private func expectEqualBits(_ body: (Bench) -> [Float]) -> [Float] {
  var reference: [Float] = []
  for (index, kernels) in kernelTables().enumerated() {
    let result = body(Bench(kernels: kernels))
    if index == 0 {
      reference = result
    } else {
      #expect(bits(result) == bits(reference), "\(String(cString: kernels.pointee.name))")
    }
  }
  return reference
}

@Test(arguments: StoredKind.allCases, [(17, 192, 32), (1, 64, 32), (6, 576, 29), (33, 96, 16), (23, 1088, 7)])
func productsWithRowsHaveTheSameBits(kind: StoredKind, shape: (rows: Int, reduction: Int, columns: Int)) {
  let weight = MadeUpMatrix(kind, rows: 37, columns: shape.reduction)
  let block = weight.matrix.reductionBlock
  for row in [0, 32] {
    for accumulate in [false, true] {
      _ = expectEqualBits { bench in
        var x = bench.rows(shape.rows, count: shape.reduction, block: block)
        var panel = bench.panel(reduction: shape.reduction, block: block)
        bench.kernels.pointee.decode_rows(&weight.native, row, block, &panel.native)
        return withExtendedLifetime((x.memory, panel.memory)) {
          bench.product(
            &x.native, panel: &panel.native, reduction: shape.reduction, columns: shape.columns, accumulate: accumulate)
        }
      }
    }
  }
}

/// Terms that go along with a product give the bits of terms that are added before it.
@Test(arguments: [(17, 192, 32), (8, 1088, 31), (1, 64, 7), (23, 64, 16)], [false, true])
func termsJoinTheProductToTheBit(shape: (rows: Int, reduction: Int, columns: Int), accumulate: Bool) {
  let weight = MadeUpMatrix(.nf4, rows: 37, columns: shape.reduction)
  let (stride, firstRow) = (shape.columns + 3, 2)
  var generator = Generator()
  let factors = (0..<4).map { _ in (0..<40 * 40).map { _ in generator.next() } }
  for kernels in kernelTables() where kernels.pointee.gemm_adding != nil {
    let bench = Bench(kernels: kernels)
    var x = bench.rows(shape.rows + firstRow, count: shape.reduction, block: 64)
    var panel = bench.panel(reduction: shape.reduction, block: 64)
    kernels.pointee.decode_rows(&weight.native, 0, 64, &panel.native)
    let start = (0..<shape.rows * stride).map { Float($0 % 13) / 8 }
    var (apart, together) = (start, start)
    factors[0].withUnsafeBufferPointer { x0 in
      factors[1].withUnsafeBufferPointer { w0 in
        factors[2].withUnsafeBufferPointer { x1 in
          factors[3].withUnsafeBufferPointer { w1 in
            let terms = [
              el_term(count: 5, scale: 1, x: x0.baseAddress, ldx: 6, w: w0.baseAddress, ldw: 32),
              el_term(count: 8, scale: 0.7, x: x1.baseAddress, ldx: 9, w: w1.baseAddress, ldw: 40),
            ]
            for (index, term) in terms.enumerated() {
              el_float_kernels_named("portable")?.pointee.gemm(
                shape.rows, shape.columns, term.count, term.scale, term.x, term.ldx, 1, term.w, term.ldw,
                accumulate || index > 0 ? 1 : 0, &apart, stride)
            }
            kernels.pointee.gemm_adding(
              &x.native, firstRow, shape.rows, 0, shape.reduction, &panel.native, &together, stride, shape.columns,
              accumulate ? 1 : 0, terms, terms.count)
          }
        }
      }
    }
    // a sum that starts from nothing, over all rows, and then the rows in question
    var product = [Float](repeating: 0, count: (shape.rows + firstRow) * stride)
    for i in 0..<shape.rows * stride { product[firstRow * stride + i] = apart[i] }
    kernels.pointee.gemm(
      &x.native, 0, shape.rows + firstRow, 0, shape.reduction, &panel.native, &product, stride, shape.columns, 1)
    #expect(bits(Array(product[(firstRow * stride)...])) == bits(together), "\(String(cString: kernels.pointee.name))")
    withExtendedLifetime((x.memory, panel.memory)) {}
  }
}

@Test(arguments: StoredKind.allCases, [(17, 0, 192), (9, 64, 128), (13, 128, 320), (1, 0, 64), (30, 64, 64)])
func productsWithColumnsHaveTheSameBits(kind: StoredKind, shape: (rows: Int, first: Int, reduction: Int)) {
  // 401 rows: the last block of the reduction is not full
  let weight = MadeUpMatrix(kind, rows: 401, columns: 96)
  for dither: UInt32 in [0, 99] {
    _ = expectEqualBits { bench in
      var x = bench.rows(shape.rows, count: 401, block: 64, limit: EL_GRADIENT_LIMIT, dither: dither)
      var panel = bench.panel(reduction: shape.reduction, block: 64)
      bench.kernels.pointee.decode_columns(&weight.native, 32, shape.first, shape.reduction, 64, &panel.native)
      return withExtendedLifetime((x.memory, panel.memory)) {
        bench.product(
          &x.native, first: shape.first, panel: &panel.native, reduction: shape.reduction, columns: 32,
          accumulate: false)
      }
    }
  }
}

@Test(arguments: StoredKind.allCases, [(1, 64), (2, 96), (3, 576), (8, 1088)])
func productsOfFewRowsHaveTheSameBits(kind: StoredKind, shape: (rows: Int, reduction: Int)) {
  let weight = MadeUpMatrix(kind, rows: 19, columns: shape.reduction)
  let block = weight.matrix.reductionBlock
  let columns: [Int32] = [0, 5, 63]
  let values = (0..<shape.rows * 3).map { Float($0) - 3 }
  let result = expectEqualBits { bench in
    var x = bench.rows(shape.rows + 2, count: shape.reduction, block: block, zeroColumns: columns)
    let buffer = Memory(bench.kernels.pointee.dot_buffer_bytes(shape.reduction, shape.rows))
    var y = [Float](repeating: 0, count: shape.rows * 20)
    columns.withUnsafeBufferPointer { columns in
      values.withUnsafeBufferPointer { values in
        var exact = el_exact_columns(
          count: 3, columns: columns.baseAddress, values: values.baseAddress, are_own: 0)
        bench.kernels.pointee.dot_rows(
          &weight.native, 2, 17, &x.native, 2, shape.rows, &exact, buffer.base, &y, 20)
      }
    }
    return withExtendedLifetime(x.memory) { y }
  }
  // against fp64: only the codes of x are rounded, and NF4's codes to 8 bits
  var generator = Generator()
  var x = (0..<(shape.rows + 2) * shape.reduction).map { _ in generator.next() * generator.next() }
  for row in 0..<shape.rows + 2 { for column in columns { x[row * shape.reduction + Int(column)] = 0 } }
  let exact = weight.values()
  var error = 0.0
  var norm = 0.0
  for row in 0..<shape.rows where row + 2 != 3 {
    for r in 0..<17 {
      var sum = 0.0
      let w = exact[(r + 2) * shape.reduction..<(r + 3) * shape.reduction]
      for (k, w) in w.enumerated() { sum += Double(x[(row + 2) * shape.reduction + k]) * Double(w) }
      for (c, column) in columns.enumerated() {
        sum += Double(values[row * 3 + c]) * Double(w[w.startIndex + Int(column)])
      }
      error += (sum - Double(result[row * 20 + r])) * (sum - Double(result[row * 20 + r]))
      norm += sum * sum
    }
  }
  #expect(error <= norm * 0.01 * 0.01)
}

@Test(arguments: StoredKind.allCases) func exactValuesHaveTheSameBits(kind: StoredKind) {
  let weight = MadeUpMatrix(kind, rows: 5, columns: 192)
  _ = expectEqualBits { bench in
    var values = [Float](repeating: 0, count: 160)
    bench.kernels.pointee.decode_floats(&weight.native, 3, 32, 160, &values)
    return values
  }
  _ = expectEqualBits { bench in
    var values = [Float](repeating: 0, count: 160)
    bench.kernels.pointee.decode_near(&weight.native, 3, 32, 160, &values)
    return values
  }
}

@Test(arguments: StoredKind.allCases, [1, 2, 3]) func floatsMeetTheExactValuesOfAPanel(kind: StoredKind, count: Int) {
  let weight = MadeUpMatrix(kind, rows: 37, columns: 320)
  guard weight.matrix.reductionBlock == 64 else { return }
  let exact = weight.values()
  var generator = Generator()
  let x = (0..<count * 320).map { _ in generator.next() }
  for kernels in kernelTables() {
    guard let products = kernels.pointee.float_products else { continue }
    var panel = Bench(kernels: kernels).panel(reduction: 320, block: 64)
    kernels.pointee.decode_rows(&weight.native, 32, 64, &panel.native)
    var result = [Float](repeating: 0, count: count * 32)
    withExtendedLifetime(panel.memory) { products(&weight.native, 32, &panel.native, count, x, &result) }
    for i in 0..<count {
      for row in 32..<37 {
        let parts = (0..<320).map { Double(x[i * 320 + $0]) * Double(exact[row * 320 + $0]) }
        let error = abs(parts.reduce(0, +) - Double(result[i * 32 + row - 32]))
        #expect(error <= 1e-5 * parts.reduce(0) { $0 + abs($1) }, "\(String(cString: kernels.pointee.name))")
      }
    }
  }
}

@Test(arguments: [1, 31, 64, 100, 577]) func columnStatisticsHaveTheSameBits(columns: Int) {
  var generator = Generator()
  let x = (0..<7 * columns).map { _ in generator.next() }
  let result = expectEqualBits { bench in
    var sums = [Float](repeating: -1, count: columns)
    var lowest = sums
    var highest = sums
    bench.kernels.pointee.column_statistics(7, columns, x, columns, &sums, &lowest, &highest)
    return sums + lowest + highest
  }
  let column = (0..<columns).map { j in (0..<7).map { x[$0 * columns + j] } }
  for j in 0..<columns { #expect(abs(result[j] - column[j].reduce(0, +)) < 1e-5) }
  #expect(Array(result[columns..<2 * columns]) == column.map { $0.min() ?? 0 })
  #expect(Array(result[(2 * columns)...]) == column.map { $0.max() ?? 0 })
}

@Test(arguments: [1, 40, 64, 96, 192, 320, 576, 1000, 1088], [32, 64])
func inputsLoseTheirMeanAndWhatStaysExact(count: Int, block: Int) {
  var generator = Generator()
  let values = (0..<count).map { _ in generator.next() * generator.next() }
  let mean = (0..<count).map { _ in generator.next() }
  let keep = (0..<count).map { $0 % 19 == 7 ? 0 : UInt32.max }
  let rest = (0..<count).map { keep[$0] == 0 ? 0 : values[$0] - mean[$0] }
  for kernels in kernelTables() {
    let bench = Bench(kernels: kernels)
    func bytes(_ quantize: (inout el_rows) -> Void) -> [UInt8] {
      var rows = bench.rows(1, count: count, block: block)
      quantize(&rows.native)
      return rows.memory.flatMap { Array(UnsafeRawBufferPointer(start: $0.base, count: $0.byteCount)) }
    }
    let whole = bytes { kernels.pointee.quantize_row(&$0, 0, 0, count, rest, 0) }
    let parts = bytes { kernels.pointee.quantize_input(&$0, 0, count, values, mean, keep) }
    #expect(whole == parts, "\(String(cString: kernels.pointee.name))")
  }
}

@Test func infinitiesAndNaNsReachTheProduct() {
  let weight = MadeUpMatrix(.f32, rows: 32, columns: 64)
  for kernels in kernelTables() {
    let bench = Bench(kernels: kernels)
    for broken in [Float.nan, .infinity] {
      var x = bench.rows(1, count: 64, block: 64)
      var values = [Float](repeating: 1, count: 64)
      values[5] = broken
      kernels.pointee.quantize_row(&x.native, 0, 0, 64, values, 0)
      var panel = bench.panel(reduction: 64, block: 64)
      kernels.pointee.decode_rows(&weight.native, 0, 64, &panel.native)
      var y = [Float](repeating: 0, count: 32)
      kernels.pointee.gemm(&x.native, 0, 1, 0, 64, &panel.native, &y, 32, 32, 0)
      #expect(y.allSatisfy { !$0.isFinite })
      withExtendedLifetime((x.memory, panel.memory)) {}
    }
  }
}

/// Tokens of several texts: what a row has does not depend on those beside it.
@Test(arguments: StoredKind.allCases, [3, 8])
func rowsWithColumnsOfTheirOwnHaveTheBitsThatTheyHaveAlone(kind: StoredKind, rows: Int) {
  let weight = MadeUpMatrix(kind, rows: 19, columns: 576)
  let block = weight.matrix.reductionBlock
  // Some are those of other rows as well, at other places.
  let columns = (0..<rows).flatMap { row -> [Int32] in [5, 10 + Int32(row), row % 2 == 0 ? 500 : 501] }
  let values = (0..<rows * 3).map { Float($0) * 0.37 - 3 }
  _ = expectEqualBits { bench in
    var x = bench.rows(rows, count: 576, block: block, zeroColumns: Array(Set(columns)))
    let buffer = Memory(bench.kernels.pointee.dot_buffer_bytes(576, rows))
    func product(_ first: Int, _ count: Int, areOwn: Bool) -> [Float] {
      var y = [Float](repeating: 0, count: count * 17)
      columns.withUnsafeBufferPointer { columns in
        values.withUnsafeBufferPointer { values in
          var exact = el_exact_columns(
            count: 3, columns: columns.baseAddress.map { $0 + first * 3 },
            values: values.baseAddress.map { $0 + first * 3 }, are_own: areOwn ? 1 : 0)
          bench.kernels.pointee.dot_rows(&weight.native, 2, 17, &x.native, first, count, &exact, buffer.base, &y, 17)
        }
      }
      return y
    }
    let together = product(0, rows, areOwn: true)
    let alone: [Float] = (0..<rows).flatMap { product($0, 1, areOwn: false) }
    #expect(bits(together) == bits(alone))
    return withExtendedLifetime(x.memory) { together }
  }
}

@Test func theLowestCodeKeepsItsSign() {
  // -128 has no positive counterpart in 8 bits
  let weight = Memory(64)
  for i in 0..<64 { weight.bind(Int8.self)[i] = -128 }
  var matrix = el_matrix()
  (matrix.codes, matrix.rows, matrix.columns, matrix.group) = (EL_INT8, 1, 64, 64)
  matrix.nested_group = 1
  matrix.data = UnsafeRawPointer(weight.base)
  for kernels in kernelTables() {
    let bench = Bench(kernels: kernels)
    var x = bench.rows(1, count: 64, block: 64)
    let values = (0..<64).map { Float($0 % 2 == 0 ? 127 : -126) }
    kernels.pointee.quantize_row(&x.native, 0, 0, 64, values, 0)
    let buffer = Memory(kernels.pointee.dot_buffer_bytes(64, 1))
    var exact = el_exact_columns(count: 0, columns: nil, values: nil, are_own: 0)
    var y: Float = 0
    kernels.pointee.dot_rows(&matrix, 0, 1, &x.native, 0, 1, &exact, buffer.base, &y, 1)
    #expect(y == -128 * 32, "\(String(cString: kernels.pointee.name))")
    withExtendedLifetime((weight, x.memory)) {}
  }
}

/// 5065 * 1657 * 8384513 is 2^46 + 1. Less than a double has room for beside a number half-way between two floats decides how
/// a sum is rounded: once, not first to a double.
@Test(arguments: [(sum: Float(1), w: Float(0x1p-47), x: Float(0x1p-23)), (0x1p-127, 0x1p-100, 0x1p-96)])
func sumsAreRoundedOnce(scales: (sum: Float, w: Float, x: Float)) {
  let codes = Memory(32 * 64)
  let weights = codes.bind(Int8.self)
  for i in 0..<32 * 64 { weights[i] = i % 64 == 0 ? 39 : i % 64 == 1 ? 112 : 5 }
  let rowScales = [Float](repeating: 1657 * scales.w, count: 32)
  rowScales.withUnsafeBufferPointer { rowScales in
    var matrix = el_matrix()
    (matrix.codes, matrix.scale_type, matrix.rows, matrix.columns, matrix.group) = (EL_INT8, EL_SCALE_F32, 32, 64, 64)
    matrix.nested_group = 1
    matrix.data = UnsafeRawPointer(codes.base)
    matrix.scales = UnsafeRawPointer(rowScales.baseAddress)
    for kernels in kernelTables() {
      let bench = Bench(kernels: kernels)
      var x = bench.rows(4, count: 64, block: 64)
      for row in 0..<4 {
        kernels.pointee.quantize_row(&x.native, row, 0, 64, [127, 1] + [Float](repeating: 0, count: 62), 0)
        x.native.scales[row] = 8_384_513 * scales.x
      }
      var panel = bench.panel(reduction: 64, block: 64)
      kernels.pointee.decode_rows(&matrix, 0, 64, &panel.native)
      var y = [Float](repeating: scales.sum, count: 4 * 32)
      kernels.pointee.gemm(&x.native, 0, 4, 0, 64, &panel.native, &y, 32, 32, 1)
      let next = scales.sum.nextUp
      #expect(y.allSatisfy { $0 == next }, "\(String(cString: kernels.pointee.name))")
      withExtendedLifetime((codes, x.memory, panel.memory)) {}
    }
  }
}

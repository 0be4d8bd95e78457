import Kernels
import Testing

@Test func threadCountDoesNotChangeSums() {
  var generator = Generator()
  let x = Vector(UnsafeMutablePointer<Float>.allocate(capacity: 100 * 96), count: 100 * 96)
  for i in 0..<x.count { x.base[i] = generator.next() }
  let p = Vector(UnsafeMutablePointer<Float>.allocate(capacity: 100 * 3), count: 300)
  for i in 0..<p.count { p.base[i] = generator.next() }
  func sums(_ threads: Int) -> [Float] {
    let dw = Vector(UnsafeMutablePointer<Float>.allocate(capacity: 3 * 96), count: 3 * 96)
    VectorOperations.fill(dw, with: 0)
    ThinProduct.weightGradient(
      p.matrix(rows: 100, columns: 3), x.matrix(rows: 100, columns: 96), addingTo: dw.matrix(rows: 3, columns: 96),
      pool: ThreadPool(threadCount: threads))
    return dw.values
  }
  #expect(sums(1) == sums(3))
}
